"""The same model as an engine of our own and behind ``vllm serve``: the same greedy texts."""

import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from kpod_ray.config import ArithmeticQuestions, RunConfig
from kpod_ray.inference.completions import CompletionIndex
from kpod_ray.questions.arithmetic import generate_questions
from kpod_ray.records import Question
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store
from kpod_ray.teacher.pools import sampling_plan
from kpod_ray.teacher.sampling import ask


@pytest.fixture(scope="module")
def served(tiny_folder, tmp_path_factory):
    """The tiny model behind a server on a free port; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = "vllm.entrypoints.openai.api_server"  # `vllm serve`, which the CPU wheel breaks
    command = [sys.executable, "-m", server, "--model", tiny_folder]
    command += ["--port", str(port), "--host", "127.0.0.1"]
    command += ["--served-model-name", "tiny", "--max-model-len", "512"]
    command += ["--dtype", "float32", "--enforce-eager"]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    log = tmp_path_factory.mktemp("serve") / "log"
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(60)


def _wait_for(url, process, log):
    deadline = time.time() + 300
    while time.time() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                if response.status == 200:
                    return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(log.read_text()[-2000:])


def texts(store, teacher):
    """Ask the teacher greedily; return its completions by question."""
    questions = generate_questions(ArithmeticQuestions(num_train=12, num_test=0), seed=0)
    source = Artifact.of(store, "questions", 1, {}, [])
    source.write("questions", Question.to_table(questions))
    config = RunConfig.model_validate(
        {
            "name": "t",
            "teacher": {"temperature": 0, "max_new_tokens": 24, "template": "plain", **teacher},
            "student": {"model": "tiny:0"},
        }
    )
    artifact = Artifact.of(store, "teacher", 1, teacher, [])
    plan = sampling_plan(config, config.teacher, source, artifact, lambda *rows: None)
    asked = ask(plan, source, lambda question, samples: False)
    index = CompletionIndex(store, plan.folder)
    assert len(index) == 12
    return [
        (sample.text, sample.finish_reason, sample.num_tokens, sample.num_prompt_tokens)
        for (sample,) in asked.samples(questions, 0)
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_endpoint_writes_what_the_engine_writes(ray_cluster, served, tmp_path):
    store = Store.open(str(tmp_path))
    engine = {"max_model_len": 512, "dtype": "float32", "enforce_eager": True}
    by_engine = texts(store, {"kind": "vllm", "model": "tiny:0", "engine_kwargs": engine})
    by_endpoint = texts(store, {"kind": "endpoint", "model": "tiny", "base_url": served})
    assert by_endpoint == by_engine
