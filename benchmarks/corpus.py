"""Measure the teacher phase without a model: ``python -m benchmarks.corpus [--rows N ...]``.

The phase ``teacher`` runs as in a run (read questions, make requests, stream requests through Ray Data,
write completions, filter, write rationales) with a service that answers at once. All processes share
one core. Each number of rows, by default 10,000, 100,000 and 1,000,000, runs in a process of its own.

For each size, the benchmark prints rows per second, seconds of sampling and of filtering, and the peak
memory in MiB of the driver and of the largest other process (without the shared object store). The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from typing import Any

import psutil

from kpod_ray.cluster.connection import connect
from kpod_ray.config import ActorResources, ResourcesConfig, RunConfig, VllmTeacher
from kpod_ray.inference.records import Completion, GenerationRequest
from kpod_ray.inference.service import ServicePool
from kpod_ray.records import Question
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store
from kpod_ray.teacher.fingerprints import generation_fingerprint
from kpod_ray.teacher.phase import write_filtered
from kpod_ray.teacher.samples import Corpus
from kpod_ray.teacher.sampling import SamplingPlan, ask

ROWS_PER_BLOCK = 256
WRITE_ROWS = 10_000
"""Questions that are made and written at a time."""
RATIONALE = (
    "There are {0} boxes with 12 pencils in each of them. That makes {0} * 12 = {1} pencils in all "
    "the boxes together. She gives 3 of them to her brother and 4 to her sister, so she has "
    "{1} - 7 = {2} pencils left for herself. The answer is {2}."
)


class Instant:
    """A service that answers at once: the rationale follows from the number that starts the question."""

    async def generate(self, request: GenerationRequest) -> Completion:
        """Return the completion of one request."""
        boxes = int(request.text.partition(" ")[0])
        text = RATIONALE.format(boxes, boxes * 12, boxes * 12 - 7)
        return Completion(request.id, text, "stop", 64, 32, -12.5)


def write_questions(store: Store, num_rows: int) -> Artifact:
    """Write a number of questions that `Instant` can answer; return their artifact."""
    artifact = Artifact.of(store, "questions", 1, {}, [])
    with artifact.writer("questions", Question.schema) as writer:
        for start in range(0, num_rows, WRITE_ROWS):
            rows = (_question(i) for i in range(start, min(start + WRITE_ROWS, num_rows)))
            writer.write_table(Question.to_table(rows))
    return artifact


def _question(number: int) -> Question:
    text = f"{number % 9973} boxes of 12 pencils, 7 given away: how many are left?"
    answer = str((number % 9973) * 12 - 7)
    return Question(f"q{number:07d}", text, answer, "number", (), "train", "")


def run_phase(num_rows: int) -> dict[str, Any]:
    """Run the teacher phase once in this process; return seconds, rows per second and peak memory."""
    connect(ResourcesConfig(local_cpus=4, object_store_gib=0.3))
    config = RunConfig.model_validate(
        {
            "name": "corpus",
            "teacher": {"kind": "vllm", "model": "tiny:0"},
            "student": {"model": "tiny:0"},
        }
    )
    teacher = config.teacher
    assert isinstance(teacher, VllmTeacher)
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(folder)
        questions, artifact = (
            write_questions(store, num_rows),
            Artifact.of(store, "teacher", 1, {}, []),
        )
        resources = ActorResources(rows_per_block=ROWS_PER_BLOCK)
        pool = ServicePool(Instant, resources, 4 * ROWS_PER_BLOCK)
        fingerprint = generation_fingerprint(teacher, "", [], 0)
        plan = SamplingPlan(
            teacher, fingerprint, lambda num, chars: pool, artifact, lambda done, rows: None
        )
        peaks = _watch_memory()
        started = time.perf_counter()
        asked = ask(plan, questions, lambda question, samples: True)
        generated = time.perf_counter()
        verdicts, _ = write_filtered(config, Corpus("instant", asked.samples), questions, artifact)
        ended = time.perf_counter()
    assert verdicts == {"kept": num_rows}, verdicts
    return {
        "rows": num_rows,
        "rows_per_s": round(num_rows / (ended - started)),
        "ask_s": round(generated - started, 1),
        "judge_s": round(ended - generated, 1),
        "driver_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "largest_other": max(peaks, key=lambda name: peaks[name]),
        "largest_other_peak_mib": max(peaks.values()) >> 20,
    }


def _watch_memory() -> dict[str, int]:
    """Start a thread that measures child processes; return their peak memory in bytes by name.

    The thread keeps updating the returned mapping.
    """
    peaks = defaultdict[str, int](int)

    def watch() -> None:
        """Update the peaks again and again."""
        while True:
            for child in psutil.Process().children(recursive=True):
                try:
                    memory, name = child.memory_info(), child.name()
                    peaks[name] = max(peaks[name], memory.rss - memory.shared)
                except psutil.NoSuchProcess:
                    continue
            time.sleep(0.5)

    threading.Thread(target=watch, daemon=True).start()
    return peaks


def main() -> None:
    """Run the phase for every number of rows and print the figures."""
    parser = argparse.ArgumentParser(description="the teacher phase without a model")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--here", type=int, help="one size, in this process")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(run_phase(options.here)))
        return
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    figures = []
    for num_rows in options.rows:
        command = [sys.executable, "-m", "benchmarks.corpus", "--here", str(num_rows)]
        environment = {**os.environ, "RAY_ADDRESS": "local", "RAY_worker_niceness": "0"}
        result = subprocess.run(
            command, check=True, text=True, stdout=subprocess.PIPE, env=environment
        )
        printed = [line for line in result.stdout.splitlines() if line.startswith("{")]
        figures.append(json.loads(printed[-1]))  # Ray may print lines before and after the figures
        print(figures[-1], flush=True)
    machine = f"{platform.machine()}, held to one core"
    print(json.dumps({"benchmark": "corpus", "machine": machine, "figures": figures}))


if __name__ == "__main__":
    main()
