"""SIGKILL the engine, its actor or the driver, again and again: ``python -m benchmarks.teacher_kills``.

Generates 2,000 rows with a service whose engine is a process of its own and whose texts take about a
second each; after every so many rows one of the three is killed, at a random moment, and a dead
driver is started again. Afterwards every id asked for must be there once. What each kill cost is what
had been finished and wasn't written. The last line is one JSON object.
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
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from kpod_ray.artifacts import Store
from kpod_ray.config import ActorResources, ResourcesConfig, VllmTeacher
from kpod_ray.data.requests import generation_fingerprint
from kpod_ray.distributed.asking import Teaching, ask
from kpod_ray.distributed.cluster import connect
from kpod_ray.distributed.generation import ServicePool
from kpod_ray.records import Completion, GenerationRequest, Question

ROWS, ROWS_PER_BLOCK, IN_FLIGHT = 2000, 32, 128
VICTIMS = ("engine", "actor", "driver")
SECONDS = (0.2, 2.0)
"""A text takes a time between these."""


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
    teaching = Teaching(
        teacher,
        generation_fingerprint(teacher, "", [], 0),
        lambda num, chars: pool,
        store.artifact("teacher", 1, {}, []),
        lambda done, rows: None,
    )
    ask(teaching, questions, lambda question, samples: True)


def finished(folder: Path) -> list[str]:
    """Return the ids of finished texts, as often as they were finished."""
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
    """Kill the victim if it runs; return whether it did."""
    try:
        os.kill(int((folder / f"{victim}.pid").read_text()), signal.SIGKILL)
    except (OSError, ValueError):
        return False
    return True


def run(folder: Path, num_kills: int, seed: int) -> dict[str, object]:
    """Run to the end through so many kills; return what they cost."""
    rng, lost, kills = random.Random(seed), list[int](), Counter[str]()
    driver = _start(folder)
    step = ROWS * 0.9 / num_kills
    while driver.poll() is None or driver.returncode:
        if driver.poll() is not None:
            _end_family(folder)
            driver = _start(folder)
        is_time = len(set(finished(folder))) >= step * (kills.total() + rng.random())
        if kills.total() < num_kills and is_time:
            victim = rng.choice(VICTIMS)
            time.sleep(rng.random())
            if kill(folder, victim):
                time.sleep(0.3)
                kills[victim] += 1
                lost.append(len(set(finished(folder)) - set(written(folder))))
                print(f"kill {kills.total()}: {victim}, cost {lost[-1]} rows", flush=True)
        time.sleep(0.05)
    again = len(finished(folder)) - ROWS
    ids = written(folder)
    return {
        "kills": dict(kills),
        "rows": len(set(ids)),
        "rows_written_twice": len(ids) - len(set(ids)),
        "finished_again": again,
        "largest_cost_of_a_kill": max(lost),
        "rows_per_block": ROWS_PER_BLOCK,
    }


def _start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.teacher_kills", "--drive", str(folder)]
    environment = {**os.environ, "RAY_ADDRESS": "local"}
    with open(folder / "log", "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def _end_family(folder: Path) -> None:
    """Wait until the Ray of a dead driver is gone, as it goes by itself."""
    deadline = time.time() + 60
    actor = int((folder / "actor.pid").read_text())
    while time.time() < deadline and psutil.pid_exists(actor):
        time.sleep(0.2)


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
