"""SIGKILL the engine, its actor or the driver, again and again: ``python -m benchmarks.teacher_kills``.

Generates 2,000 rows with a service whose engine is a process of its own and whose texts take about two
seconds each; when some more rows are finished one of the three is killed, at a random moment, and a
dead driver is started again. Afterwards every id asked for must be there once. What a kill cost is
what was finished since the last kill and isn't written when the actor is gone: all those rows, and no
others, are finished once more. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from kpod_ray.cluster.connection import connect
from kpod_ray.config import ActorResources, ResourcesConfig, VllmTeacher
from kpod_ray.inference.requests import generation_fingerprint
from kpod_ray.inference.service import ServicePool
from kpod_ray.records import Completion, GenerationRequest, Question
from kpod_ray.storage.artifacts import Store
from kpod_ray.teacher.sampling import SamplingPlan, ask

ROWS, ROWS_PER_BLOCK, IN_FLIGHT = 2000, 32, 128
VICTIMS = ("engine", "actor", "driver")
SECONDS = (0.4, 4.0)
"""A text takes a time between these."""
MOST_DELAY = 0.3
"""Seconds between noticing that enough rows are finished and the kill, at most."""
MOST_SECONDS = 60.0
"""How long an actor may outlive its engine or its driver."""


class ChildEngine:
    """Its engine is a child process that does nothing but live; without it no text gets finished."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.child = subprocess.Popen(["sleep", "3600"])
        (self.folder / "actor.pid").write_text(str(os.getpid()))
        (self.folder / "engine.pid").write_text(str(self.child.pid))

    async def generate(self, request: GenerationRequest) -> Completion:
        """Return the completion of one request; ends the process when the engine is dead."""
        await asyncio.sleep(random.Random(request.seed).uniform(*SECONDS))
        if self.child.poll() is not None:
            os._exit(1)
        with open(self.folder / "finished", "a") as file:
            file.write(f"{request.id}\n")
        return Completion(request.id, request.text, "stop", 1)


def drive(folder: Path) -> None:
    """Ask for all rows, as the phase ``teacher`` does; the process that may be killed."""
    (folder / "driver.pid").write_text(str(os.getpid()))
    connect(ResourcesConfig(local_cpus=4, object_store_gib=0.2))
    store = Store.open(str(folder / "store"))
    questions = store.artifact("questions", 1, {}, [])
    if not store.exists(f"{questions.folder}/questions.parquet"):
        rows = (Question(f"q{i}", f"{i}?", "1", "number", (), "train", "") for i in range(ROWS))
        questions.write("questions", Question.to_table(rows))
    teacher = VllmTeacher(kind="vllm", model="tiny:0")
    start = functools.partial(ChildEngine, str(folder))
    pool = ServicePool(start, ActorResources(rows_per_block=ROWS_PER_BLOCK), IN_FLIGHT)
    plan = SamplingPlan(
        teacher,
        generation_fingerprint(teacher, "", [], 0),
        lambda num, chars: pool,
        store.artifact("teacher", 1, {}, []),
        lambda done, rows: None,
    )
    ask(plan, questions, lambda question, samples: True)


def finished(folder: Path) -> list[str]:
    """Return the ids of finished texts, in the order of finishing, as often as they were finished."""
    file = folder / "finished"
    return file.read_text().split() if file.exists() else []


def written(folder: Path) -> list[str]:
    """Return the ids in the files, as often as they are there."""
    store = Store.open(str(folder / "store"))
    parts = [
        f"completions/{f}/{p}" for f in _folders(store) for p in store.files(f"completions/{f}")
    ]
    return [i for part in parts for i in store.read_table(part, ["id"])["id"].to_pylist()]


def _folders(store: Store) -> list[str]:
    root = Path(store.root) / "completions"
    return [path.name for path in root.iterdir()] if root.exists() else []


def kill(folder: Path, victim: str) -> bool:
    """Kill the victim if it runs; return whether it did, after the actor is gone."""
    try:
        os.kill(int((folder / f"{victim}.pid").read_text()), signal.SIGKILL)
    except (OSError, ValueError):
        return False
    deadline = time.time() + MOST_SECONDS
    while time.time() < deadline and _is_alive(int((folder / "actor.pid").read_text())):
        time.sleep(0.05)
    return True


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def run(folder: Path, num_kills: int, seed: int) -> dict[str, object]:
    """Run to the end through so many kills; return what they cost."""
    rng, costs, kills = random.Random(seed), list[int](), Counter[str]()
    driver, counted = _start(folder), 0
    wait_for = _next_wait(rng, 0, num_kills)
    while driver.poll() is None or driver.returncode:
        if driver.poll() is not None:
            driver = _start(folder)
        if kills.total() < num_kills and len(finished(folder)) >= counted + wait_for:
            victim = rng.choice(VICTIMS)
            time.sleep(rng.uniform(0, MOST_DELAY))
            if kill(folder, victim):
                kills[victim] += 1
                ids = finished(folder)
                costs.append(len(set(ids[counted:]) - set(written(folder))))
                counted = len(ids)
                wait_for = _next_wait(rng, len(set(ids)), num_kills - kills.total())
                print(f"kill {kills.total()}: {victim}, cost {costs[-1]} rows", flush=True)
        time.sleep(0.05)
    ids = written(folder)
    return {
        "kills": dict(kills),
        "rows": len(set(ids)),
        "rows_written_twice": len(ids) - len(set(ids)),
        "finished_again": len(finished(folder)) - ROWS,
        "cost_of_all_kills": sum(costs),
        "median_cost_of_a_kill": statistics.median(costs),
        "largest_cost_of_a_kill": max(costs),
        "rows_per_block": ROWS_PER_BLOCK,
    }


def _next_wait(rng: random.Random, num_finished: int, num_kills: int) -> int:
    """Return after how many further rows the next of so many kills comes: random, and all find room."""
    return rng.randint(1, max(1, round((0.9 * ROWS - num_finished) / max(1, num_kills))))


def _start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.teacher_kills", "--drive", str(folder)]
    environment = {**os.environ, "RAY_ADDRESS": "local"}
    with open(folder / "log", "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def main() -> None:
    """Run the kills and print what they cost."""
    parser = argparse.ArgumentParser(description="kills during generation")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drive", type=Path)
    options = parser.parse_args()
    if options.drive:
        drive(options.drive)
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = run(Path(folder), options.kills, options.seed)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"benchmark": "teacher_kills", "machine": machine, "figures": figures}))


if __name__ == "__main__":
    main()
