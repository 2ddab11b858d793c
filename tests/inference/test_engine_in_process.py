"""The engine in its caller's process, with a real vLLM: answers, refusals, and a step that fails."""

import json
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SCRIPT = """
import asyncio, json, os, threading
import psutil
from kpod_ray.config import ActorResources
from kpod_ray.data.prompts import PromptBuilder
from kpod_ray.errors import KpodError
from kpod_ray.inference.engine_in_process import InProcessEngine
from kpod_ray.inference.records import GenerationRequest
from kpod_ray.inference.service import Sampling
from kpod_ray.inference.vllm_engine import VllmService, cpu_arguments, vllm_pool
from kpod_ray.models.sources import model_folder

ARGUMENTS = {"dtype": "float32", "max_model_len": 128, "enforce_eager": True}

def arguments(**others):
    from vllm import EngineArgs
    return EngineArgs(model=model_folder("tiny:0"), **cpu_arguments({**ARGUMENTS, **others}))

def parameters(num_tokens):
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind
    kind = RequestOutputKind.FINAL_ONLY
    return SamplingParams(temperature=0, max_tokens=num_tokens, ignore_eos=True, output_kind=kind)

async def outcome(engine, prompt, num_tokens, request_id):
    try:
        return list((await engine.complete(prompt, parameters(num_tokens), request_id)).token_ids)
    except Exception as error:
        return type(error).__name__

async def together(engine, prompts):
    calls = [outcome(engine, prompt, 5 + i, str(i)) for i, prompt in enumerate(prompts)]
    return await asyncio.gather(*calls)

async def one_after_the_other(engine, prompts):
    return [await outcome(engine, prompt, 5 + i, str(i)) for i, prompt in enumerate(prompts)]

async def cancelled(engine):
    call = asyncio.ensure_future(outcome(engine, [1, 2], 100, "cancelled"))
    await asyncio.sleep(0.1)
    call.cancel()
    return await outcome(engine, [3, 4], 3, "next")

if __name__ == "__main__":
    resources = ActorResources(num_actors=1, num_cpus=1)
    sampling = Sampling(temperature=0, top_p=1, max_new_tokens=8)
    os.environ |= vllm_pool("tiny:0", PromptBuilder("plain"), sampling, {}, resources).environment
    found = {}
    try:
        InProcessEngine(arguments(max_model_len=10_000_000))
    except KpodError as error:
        found["refused"] = str(error)
    engine = InProcessEngine(arguments())
    found["children"] = len(psutil.Process().children(recursive=True))
    prompts = [[1, 2, 3], [4], list(range(1, 200)), [5, 6], [7] * 60]
    found["together"] = asyncio.run(together(engine, prompts))
    found["alone"] = asyncio.run(one_after_the_other(engine, prompts))
    found["cancelled"] = asyncio.run(cancelled(engine))
    service = VllmService(lambda _: engine, "tiny:0", PromptBuilder("plain"), sampling, ARGUMENTS)
    texts = ["What is 1 + 1?", "one " * 200]
    asked = [GenerationRequest(str(row), text, 0) for row, text in enumerate(texts)]
    answers = [asyncio.run(service.generate(request)) for request in asked]
    found["reasons"] = [answer.finish_reason for answer in answers]
    found["message"] = answers[1].text
    model = engine.engine.model_executor.driver_worker.get_model()
    embedding = model.model.embed_tokens.weight
    embedding.data = embedding.data[:1]  # no token after the first has a row any more
    found["broken"] = asyncio.run(together(engine, prompts[:2]))
    found["after"] = asyncio.run(together(engine, prompts[:1]))
    engine.shutdown()
    found["threads"] = [thread.name for thread in threading.enumerate()]
    print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    script = tmp_path_factory.mktemp("engine") / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_engine_starts_no_process(found):
    assert found["children"] == 0


def test_requests_that_share_batches_get_the_answers_that_they_get_alone(found):
    assert found["together"] == found["alone"]
    texts = [answer for answer in found["together"] if isinstance(answer, list)]
    assert [len(text) for text in texts] == [5, 6, 8, 9]


def test_a_prompt_that_is_too_long_is_refused_and_no_other(found):
    assert found["together"][2] == "VLLMValidationError"


def test_a_question_that_is_too_long_for_the_engine_is_an_error_row(found):
    assert found["reasons"] == ["length", "error"]
    assert "128 tokens" in found["message"]


def test_a_request_that_nobody_waits_for_disturbs_no_other(found):
    assert len(found["cancelled"]) == 3


def test_a_step_that_fails_ends_all_requests_and_all_later_ones(found):
    assert found["broken"] == ["EngineDeadError"] * 2
    assert found["after"] == ["EngineDeadError"]


def test_an_engine_that_can_not_start_is_an_error_of_one_line(found):
    assert found["refused"].startswith("vLLM can't start an engine for ")
    assert "max_model_len" in found["refused"]
    assert "\n" not in found["refused"]


def test_the_thread_ends_with_the_engine(found):
    assert "MainThread" in found["threads"]
    assert "kpod-engine" not in found["threads"]
