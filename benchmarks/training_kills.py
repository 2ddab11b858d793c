"""Compare a training with kills to one without: ``python -m benchmarks.training_kills``.

A tiny student is trained on two workers for 100 stages (``--stages``), first without kills. In the
second training, the scheduler actor, a worker or the driver gets SIGKILL at a random moment of some
stages (``--scheduler``, ``--worker`` and ``--driver`` set the numbers); a killed driver is started
again. The losses and the parameters of both trainings should be equal.

The benchmark prints each kill, then the differences of losses and parameters and the seconds of both
trainings. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
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
from typing import Any

import psutil
import pyarrow as pa
from safetensors.torch import load_file

from kpod_ray.cluster.connection import connect
from kpod_ray.config import ArithmeticQuestions, ResourcesConfig, RunConfig
from kpod_ray.data.examples import Example, build_example
from kpod_ray.models.student import load_tokenizer
from kpod_ray.questions.arithmetic import generate_questions
from kpod_ray.records import Rationale, StageRow, StepDifficulty
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store
from kpod_ray.training.phase import train_student
from kpod_ray.weighting.given_weights import unweighted

VICTIMS = {"scheduler": "ray::Scheduler", "worker": "ray::RayTrainWorker", "driver": ""}
"""Victim -> start of the name of its process. The driver is the process that the benchmark started."""
NUM_QUESTIONS = 8
SEED = 0


def write_inputs(store: Store, num_stages: int) -> tuple[Artifact, Artifact]:
    """Write the inputs of a training unless they exist: examples, difficulties, schedule.

    Returns:
        The artifacts ``assess`` and ``plan``.
    """
    assess, plan = Artifact.of(store, "assess", 1, {}, []), Artifact.of(store, "plan", 1, {}, [])
    if store.exists(f"{plan.folder}/schedule.parquet"):
        return assess, plan
    tokenizer = load_tokenizer("tiny:0")
    settings = ArithmeticQuestions(num_train=NUM_QUESTIONS, num_test=0, max_steps=4)
    examples = []
    for question in generate_questions(settings, SEED):
        text = question.reference_rationale
        row = Rationale("", question.id, 0, text, "", "", 0, question.answer, "reference")
        rationale = unweighted(row, split_newlines=True)
        examples.append(build_example(tokenizer, question, rationale, "chat"))
    assess.write("examples", Example.to_table(examples))
    flat = [
        StepDifficulty(e.question_id, [1.0] * e.num_steps, [1.0] * e.num_steps) for e in examples
    ]
    assess.write("difficulties", StepDifficulty.to_table(flat))
    rows = [
        StageRow(e.question_id, stage, int(e.num_steps * (1 - stage / num_stages)))
        for stage in range(num_stages + 1)
        for e in examples
    ]
    ids = sorted(e.question_id for e in examples)
    plan.write("clusters", pa.table({"question_id": ids, "cluster_id": [0] * len(ids)}))
    plan.write("schedule", StageRow.to_table(rows))
    return assess, plan


def drive(folder: Path, num_stages: int) -> None:
    """Train as the phase ``train`` does; runs in the process that may be killed."""
    store = Store.open(str(folder / "store"))
    assess, plan = write_inputs(store, num_stages)
    config = RunConfig.model_validate(
        {
            "name": "kills",
            "storage": store.root,
            "seed": SEED,
            "teacher": {"kind": "reference"},
            "schedule": {"num_stages": num_stages},
            "student": {"model": "tiny:0", "learning_rate": 1e-3, "global_batch_size": 4},
            "resources": {
                "train": {"num_workers": 2, "num_cpus": 0.5, "max_failures": 1000, "num_threads": 1}
            },
        }
    )
    connect(ResourcesConfig(local_cpus=4, object_store_gib=0.2))
    artifact = Artifact.of(store, "train", 1, {}, [])

    def note(metrics: Any) -> None:
        """Write the stage of a train step for `train`."""
        (folder / "stage").write_text(str(int(metrics["stage"])))

    artifact.finish(train_student(config, assess, assess, plan, artifact, note))


def train(
    folder: Path, num_stages: int, kills: dict[int, str], rng: random.Random
) -> dict[str, int]:
    """Train to the end with kills.

    Args:
        folder: folder of the storage and of the log.
        num_stages: stages of the training.
        kills: stage -> victim.
        rng: draws the delay of each kill.

    Returns:
        The number of kills of each victim.
    """
    driver = _start(folder, num_stages)
    done = Counter[str]()
    left = dict(kills)
    while driver.poll() is None or driver.returncode:
        if driver.poll() is not None:
            driver = _start(folder, num_stages)
        stage = _stage(folder)
        due = [s for s in left if s <= stage]
        if due:
            time.sleep(3 * rng.random())
            victim = left[due[0]]
            if _kill(driver, victim):
                del left[due[0]]
                done[victim] += 1
                print(f"stage {stage}: {victim} killed", flush=True)
                if victim == "driver":
                    driver.wait()
        time.sleep(0.1)
    return dict(done)


def _stage(folder: Path) -> int:
    file = folder / "stage"
    text = file.read_text() if file.exists() else ""
    return int(text or 0)


def _kill(driver: subprocess.Popen[bytes], victim: str) -> bool:
    """Kill a victim; return whether it was running."""
    processes = [psutil.Process(driver.pid)] if driver.poll() is None else []
    if victim != "driver":
        family = [child for p in processes for child in p.children(recursive=True)]
        processes = [p for p in family if "".join(_command(p)).startswith(VICTIMS[victim])][:1]
    for process in processes:
        process.send_signal(signal.SIGKILL)
    return bool(processes)


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def _start(folder: Path, num_stages: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.training_kills", "--stages", str(num_stages)]
    environment = {**os.environ, "RAY_ADDRESS": "local", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5"}
    with open(folder / "log", "ab") as log:
        return subprocess.Popen(
            [*command, "--drive", str(folder)], stdout=log, stderr=log, env=environment
        )


def _student(folder: Path) -> dict[str, Any]:
    (file,) = (folder / "store").glob("train/*/student/model.safetensors")
    return dict(load_file(file))


def _losses(folder: Path) -> list[float]:
    (file,) = (folder / "store").glob("train/*/history.json")
    return [row["loss"] for row in json.loads(file.read_text())]


def main() -> None:
    """Train without and with kills; print how the trainings differ."""
    parser = argparse.ArgumentParser(description="kills during training")
    parser.add_argument("--stages", type=int, default=100)
    parser.add_argument("--scheduler", type=int, default=10)
    parser.add_argument("--worker", type=int, default=10)
    parser.add_argument("--driver", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drive", type=Path)
    options = parser.parse_args()
    if options.drive:
        drive(options.drive, options.stages)
        return
    rng = random.Random(options.seed)
    victims = [name for name in VICTIMS for _ in range(getattr(options, name))]
    kills = dict(zip(rng.sample(range(1, options.stages), len(victims)), victims, strict=True))
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        started = time.time()
        train(Path(first), options.stages, {}, rng)
        untouched = time.time()
        done = train(Path(second), options.stages, kills, rng)
        ended = time.time()
        ours, theirs = _student(Path(second)), _student(Path(first))
        losses = [_losses(Path(folder)) for folder in (first, second)]
    figures = {
        "stages": options.stages,
        "kills": done,
        "train_steps": [len(values) for values in losses],
        "losses_equal": losses[0] == losses[1],
        "largest_parameter_difference": max(float((ours[n] - theirs[n]).abs().max()) for n in ours),
        "seconds_untouched": round(untouched - started),
        "seconds_killed": round(ended - untouched),
    }
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"benchmark": "training_kills", "machine": machine, "figures": figures}))


if __name__ == "__main__":
    main()
