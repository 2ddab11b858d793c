import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from kpod_ray.errors import KpodError
from kpod_ray.storage.artifacts import Artifact
from tests.training.training_runs import (
    NUM_STAGES,
    TWO,
    DeathsInStage2,
    assert_same_way,
    largest_difference,
    step_losses,
    train,
    train_here,
    training_processes,
)


def test_a_worker_killed_inside_a_stage_goes_on_at_the_next_train_step(alone, training_inputs):
    killed, seen = [], []

    def kill_once(metrics):
        seen.append(metrics["train_step"])
        if metrics["train_step"] == 3 and not killed:  # the first of two of stage 2
            killed.extend(training_processes())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    resources = {**TWO, "checkpoints": {"every_train_steps": 1}}
    parameters, history = train(training_inputs, "killed inside", kill_once, resources=resources)
    assert killed
    assert [row["train_step"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert_same_way((parameters, history), alone)
    for stage in range(1, NUM_STAGES + 1):
        ours, theirs = (
            step_losses(training_inputs, label, stage) for label in ("killed inside", "alone")
        )
        for i in theirs:
            np.testing.assert_allclose(ours[i], theirs[i], rtol=1e-4)


def test_a_damaged_checkpoint_gives_way_and_another_settings_one_is_refused(alone, training_inputs):
    store = training_inputs[0]
    folder, other = (
        Path(store.root) / Artifact.of(store, "train", 1, {"label": label}, []).folder
        for label in ("damaged", "copied")
    )
    killed = []

    def damage_and_kill(metrics):
        if metrics["train_step"] == 3 and not killed:
            killed.extend(training_processes())
            for pid in killed:
                os.kill(pid, signal.SIGSTOP)  # no further checkpoint meanwhile
            time.sleep(1)  # what Ray Train was about to delete is gone
            shutil.copytree(folder / "fit", other / "fit")
            checkpoints = sorted(p for p in folder.glob("fit/checkpoint_*") if p.is_dir())
            for checkpoint in checkpoints[1:]:  # the last may not be whole yet, and not count
                file = checkpoint / "parameters.safetensors"
                if file.exists():
                    file.write_bytes(file.read_bytes()[:-100])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    resources = {"checkpoints": {"every_train_steps": 1}}
    parameters, history = train(training_inputs, "damaged", damage_and_kill, resources=resources)
    assert killed
    assert [row["train_step"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert largest_difference(parameters, alone[0]) <= 1e-6
    warning = Artifact.of(store, "train", 1, {"label": "damaged"}, []).manifest()["warning"]
    assert re.fullmatch(
        r"checkpoint_\S+ is damaged \(parameters.safetensors: .*\), the one before it was used",
        warning,
    )
    with pytest.raises(
        KpodError, match=r"^the checkpoints in train/\w+/fit are of train/\w+, which has other"
    ):
        train(training_inputs, "copied")


def test_an_adaptive_training_decides_from_its_own_losses(ray_cluster, training_inputs):
    store = training_inputs[0]
    schedule = {"adaptive": True, "full_stage": 3, "num_clusters": 2}
    deaths = DeathsInStage2()
    untouched, _ = train_here(training_inputs, "adaptive", schedule=schedule)
    resumed, _ = train(training_inputs, "adaptive killed", watch=deaths, schedule=schedule)
    assert deaths.killed
    assert largest_difference(untouched, resumed) <= 1e-6
    tables = []
    for label in ("adaptive", "adaptive killed"):
        folder = Artifact.of(store, "train", 1, {"label": label}, []).folder
        decisions = json.loads(store.read_text(f"{folder}/decisions.json"))
        assert [entry["plan"] for entry in decisions.values()] == [
            f"{folder}/replans/stage-{t}" for t in (1, 2, 3)
        ]
        tables.append(
            [store.read_table(f"{e['plan']}/schedule.parquet") for e in decisions.values()]
        )
    assert all(first.equals(second) for first, second in zip(*tables, strict=True))
    losses = step_losses(training_inputs, "adaptive", 1)
    assert any(np.isnan(values).any() for values in losses.values())
    folder = Artifact.of(store, "train", 1, {"label": "adaptive"}, []).folder
    totals = json.loads(store.read_text(f"{folder}/replans/stage-2/totals.json"))
    # D'(2) from what stage 1 measured, and 2 nats for every step that it did not emit.
    total = sum(np.where(np.isnan(values), 2.0, values).sum() for values in losses.values())
    share = 0.3 + 0.7 * (2 / 3) ** 1.5
    assert totals["ceilings"] == pytest.approx([total * share], rel=1e-5)
