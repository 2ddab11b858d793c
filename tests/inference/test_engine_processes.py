"""An engine in processes that get a signal: the process of its service exits, and no text is cut off."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SCRIPT = """
import asyncio, os, signal, sys, threading, time
import psutil
from kpod_ray.config import ActorResources
from kpod_ray.data.prompts import PromptBuilder
from kpod_ray.inference.engine_processes import EngineProcesses
from kpod_ray.inference.records import GenerationRequest
from kpod_ray.inference.service import Sampling
from kpod_ray.inference.vllm_engine import VllmService, cpu_arguments, vllm_pool

def engine():
    while True:
        for process in psutil.Process().children(recursive=True):
            if "EngineCore" in process.name():
                return process
        time.sleep(0.05)

def end_the_start():
    process = engine()
    time.sleep(1)
    process.send_signal(signal.SIGTERM)

async def ask(service):
    asked = asyncio.ensure_future(service.generate(GenerationRequest("a", "What is 1 + 1?", 0)))
    if sys.argv[1] == "generates":
        await asyncio.sleep(2)
        engine().send_signal(signal.SIGTERM)
    print("answered", (await asked).finish_reason)

if __name__ == "__main__":
    # the arguments and environment of a CPU, but with the engine of a GPU
    arguments = cpu_arguments({"dtype": "float32", "max_model_len": 2048, "enforce_eager": True})
    # a text that takes minutes, which a random model doesn't end
    sampling = Sampling(temperature=0, top_p=1, max_new_tokens=2000)
    resources = ActorResources(num_actors=1, num_cpus=1)
    prompts = PromptBuilder("plain")
    pool = vllm_pool("tiny:0", prompts, sampling, arguments, resources)
    os.environ.update({**pool.environment, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"})
    if sys.argv[1] == "starts":
        threading.Thread(target=end_the_start).start()
    service = VllmService(EngineProcesses, "tiny:0", prompts, sampling, arguments)
    print("started", flush=True)
    asyncio.run(ask(service))
"""


@pytest.mark.parametrize("moment", ["starts", "generates"])
def test_an_engine_that_gets_sigterm_ends_its_process_and_answers_nothing(tmp_path, moment):
    script = tmp_path / "script.py"  # vLLM starts processes that import it
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), moment],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 1, done.stderr[-2000:]
    assert "started" in done.stdout
    assert "answered" not in done.stdout
    assert "Traceback" not in done.stderr
