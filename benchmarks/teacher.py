"""Measure the speed of the teacher and of vLLM alone: ``python -m benchmarks.teacher --data DIR``.

Both sides generate for the same SVAMP prompts with the same engine arguments, sampling and number of
threads, in turns, for several rounds. The start of the engine isn't counted. vLLM alone gets all prompts
in one call of ``LLM.generate``. Two cases are measured: ``usual``, in which the model ends its texts,
and ``spread``, in which each text has a fixed length and lengths differ widely. The case ``spread`` also
measures ``LLM.generate`` called with one full batch after the other.

The benchmark prints tokens per second of each side and round; the JSON object in the last line adds
our ratios to the other sides. ``--rounds``, ``--prompts`` and ``--only`` make the benchmark shorter.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kpod_ray.cluster.connection import connect
from kpod_ray.config import ActorResources, FileQuestions, ResourcesConfig
from kpod_ray.data.prompts import PromptBuilder, question_text
from kpod_ray.inference.completions import CompletionIndex
from kpod_ray.inference.generate import generate
from kpod_ray.inference.records import Completion, GenerationRequest
from kpod_ray.inference.requests import Pending
from kpod_ray.inference.service import Sampling, ServicePool
from kpod_ray.inference.vllm_engine import vllm_pool
from kpod_ray.questions.loading import load_questions
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store

MODEL = "packaged:SmolLM2-135M-Instruct"
ENGINE = {"enforce_eager": True, "dtype": "bfloat16", "max_model_len": 1024, "max_num_seqs": 64}
NEW_TOKENS = 48
SPREAD = (4, 16, 32, 192)
"""Lengths of the texts in the case ``spread``, in tokens; a request's seed picks the length."""
FIGURE = "tokens a second: "
"""Start of the line with the figure of `benchmarks.teacher_alone`; vLLM prints other lines."""


class Timed:
    """A service that records the time of its first request, and can fix the length of each text.

    Args:
        note: file to which the time of the first request is written.
        is_spread: whether texts have the lengths in `SPREAD`; otherwise the model ends its texts.
        start: makes the wrapped service.
    """

    def __init__(self, note: str, is_spread: bool, start: Callable[[], Any]) -> None:
        self.note = Path(note)
        self.service = start()  # a `VllmService`
        if is_spread:
            self.usual_params = self.service._sampling_params
            self.service._sampling_params = self._spread_params

    async def generate(self, request: GenerationRequest) -> Completion:
        """Return the completion of one request."""
        if not self.note.exists():
            self.note.write_text(str(time.time()))
        return await self.service.generate(request)

    def _spread_params(self, seed: int) -> Any:
        parameters = self.usual_params(seed)
        parameters.max_tokens, parameters.ignore_eos = SPREAD[seed % len(SPREAD)], True
        return parameters


def _pool() -> ServicePool:
    sampling = Sampling(0, 1, NEW_TOKENS)
    resources = ActorResources(num_cpus=2)
    return vllm_pool(MODEL, PromptBuilder("chat"), sampling, ENGINE, resources)


def ours(requests: Sequence[GenerationRequest], is_spread: bool) -> float:
    """Generate as the teacher phase does; return tokens per second."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = Artifact.of(Store.open(folder), "teacher", 1, {}, [])
        pending = Pending(artifact)
        pending.add(requests)
        note = Path(folder) / "started"
        pool = _pool()
        service = functools.partial(Timed, str(note), is_spread, pool.start)
        ended = 0.0

        def note_end(num_rows: int) -> None:
            """Record the time at which rows were finished."""
            nonlocal ended
            ended = time.time()

        timed = dataclasses.replace(pool, start=service)
        generate(pending, "completions", timed, note_end)
        index = CompletionIndex(artifact.store, "completions")
        tokens = sum(row.num_tokens for row in index.find([r.id for r in requests]))
        return tokens / (ended - float(note.read_text()))


def alone(requests: Sequence[GenerationRequest], is_spread: bool) -> float:
    """Generate with one call of ``LLM.generate``; return tokens per second."""
    return _generate_alone(requests, is_spread, len(requests))


def batches(requests: Sequence[GenerationRequest], is_spread: bool) -> float:
    """Generate with a call of ``LLM.generate`` for each full batch; return tokens per second."""
    return _generate_alone(requests, is_spread, int(str(ENGINE["max_num_seqs"])))


def _generate_alone(
    requests: Sequence[GenerationRequest], is_spread: bool, batch_rows: int
) -> float:
    rows = [(request.text, request.seed) for request in requests]
    arguments = [str(int(is_spread)), str(batch_rows)]
    command = [sys.executable, "-m", "benchmarks.teacher_alone", *arguments]
    environment = {**os.environ, **_pool().environment}
    # we set these; vLLM alone has its defaults
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "VLLM_ENABLE_V1_MULTIPROCESSING"):
        environment.pop(name, None)
    result = subprocess.run(
        command,
        input=json.dumps(rows),
        env=environment,
        text=True,
        check=True,
        stdout=subprocess.PIPE,
    )
    (figure,) = (line for line in result.stdout.splitlines() if line.startswith(FIGURE))
    return float(figure.removeprefix(FIGURE))


def measure(requests: Sequence[GenerationRequest], rounds: int, is_spread: bool) -> dict[str, Any]:
    """Measure all sides in turns, for a number of rounds.

    Returns:
        The tokens per second of each side in every round, and our ratio to each other side: the ratio of
        the medians, and the median of the ratios within a round. (A machine that becomes slower with
        time affects both sides of a round.)
    """
    sides = (ours, alone, batches) if is_spread else (ours, alone)
    values: dict[str, list[float]] = {side.__name__: [] for side in sides}
    for number in range(rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            rate = round(side(requests, is_spread), 1)
            values[side.__name__].append(rate)
            print(f"round {number} {side.__name__}: {rate} tokens/s", flush=True)
    ratios = {}
    for side in sides[1:]:
        name = side.__name__
        others = values[name]
        of_medians = statistics.median(values["ours"]) / statistics.median(others)
        of_rounds = [o / other for o, other in zip(values["ours"], others, strict=True)]
        ratios[f"ratio_of_medians_{name}"] = round(of_medians, 3)
        ratios[f"median_ratio_{name}"] = round(statistics.median(of_rounds), 3)
    return {**values, **ratios}


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(
        description="tokens a second of the teacher against vLLM alone"
    )
    parser.add_argument("--data", required=True, help="folder of the question sets")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--only", choices=["usual", "spread"])
    options = parser.parse_args()
    connect(ResourcesConfig(local_cpus=4))
    config = FileQuestions(source="file", path=f"{options.data}/svamp/train.jsonl")
    questions = load_questions(config, 0).questions[: options.prompts]
    requests = [
        GenerationRequest(f"{i:024x}", question_text(question), i)
        for i, question in enumerate(questions)
    ]
    kinds = [options.only] if options.only else ["usual", "spread"]
    figures = {kind: measure(requests, options.rounds, kind == "spread") for kind in kinds}
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"benchmark": "teacher", "machine": machine, "figures": figures}))


if __name__ == "__main__":
    main()
