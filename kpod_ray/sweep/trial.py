"""One trial of a sweep: a training with other settings, in a process of its own."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import ray

from kpod_ray.cluster.connection import connect
from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.run import QUIET, Run, RunCallbacks, finish_artifact, open_run
from kpod_ray.sweep.tuner import Report, Settings
from kpod_ray.tracking import tracked
from kpod_ray.tracking.phase_summaries import phase_summary
from kpod_ray.tracking.prometheus import Gauges
from kpod_ray.tracking.wandb_upload import files_of

SHARED_PHASES = ("questions", "teacher", "weigh", "assess", "plan")
"""Phases before the training, which several trials may share, in order."""


def trial_config(base: RunConfig, settings: Settings, seed: int) -> RunConfig:
    """Return the config of one training of a trial.

    Args:
        base: of the sweep.
        settings: of the trial.
        seed: 0 for its first training, 1 for its second ...
    """
    overrides: dict[str, Any] = {**settings}
    if base.tracking.group is None:
        overrides["tracking.group"] = base.name
    if base.sweep.num_seeds > 1:
        overrides["student.seed"] = base.training_seed + seed
    return base.override(overrides)


def trial_name(run: Run) -> str:
    """Return the name of a training among all of a sweep; the same settings give the same name."""
    return f"{run.config.name}-{run.artifacts['train'].fingerprint[:8]}"


def run_trial(
    base: RunConfig,
    shared_tasks: Any,
    board: Any,
    trial_id: str,
    settings: Settings,
    report: Report,
) -> float:
    """Train with these settings and every seed; return the mean objective of the students.

    Args:
        base: of the sweep.
        shared_tasks: a `SharedTaskRunner` actor, which makes what trials share.
        board: a `MetricsBoard` actor, which gets what is to be shown of the trial.
        trial_id: of the trial.
        settings: of the trial.
        report: is told the objective after the stages of the first training.

    Raises:
        KpodError: Another trial has the same settings, or the training fails.
    """
    connect(base.resources)
    scores = []
    for seed in range(base.sweep.num_seeds):
        run = open_run(trial_config(base, settings, seed))
        for name in SHARED_PHASES:
            if not run.artifacts[name].is_finished():
                folder = run.artifacts[name].folder
                ray.get(shared_tasks.make.remote(folder, run.config, name))
        _claim(run, shared_tasks, trial_id)

        def report_stage(percent: float, value: float, run: Run = run, seed: int = seed) -> None:
            """Show the objective to the driver; the first training's decides whether to stop."""
            metrics = {"percent": percent, base.sweep.objective: value}
            told = {"name": trial_name(run), "settings": dict(settings), "metrics": metrics}
            board.post.remote(told)
            if seed == 0 and percent < 100:
                report(percent, value)

        _train(run, report_stage)
        scores.append(score_of(run))
        report_stage(100.0, scores[-1])
    return float(np.mean(scores))


def _claim(run: Run, shared_tasks: Any, trial_id: str) -> None:
    """Make sure that no other trial trains the same student at the same time."""
    train = run.artifacts["train"]
    first = ray.get(shared_tasks.claim.remote(train.folder, trial_id))
    if first != trial_id and not train.is_finished():
        raise KpodError(f"the same settings as trial {first}")


def _train(run: Run, report_stage: Callable[[float, float], None]) -> None:
    """Train, unless that is done; tell the objective after each stage, the last one excepted."""
    objective, num_stages = run.config.sweep.objective, run.config.schedule.num_stages
    told, gauges = set[int](), Gauges(trial_name(run))

    def on_train_step(phase: str, metrics: Mapping[str, float]) -> None:
        """Pass the metrics on, and the objective once a stage."""
        tracker.log({f"{phase}/{name}": value for name, value in metrics.items()})
        gauges.train_step(phase, metrics)
        stage = int(metrics["stage"])
        if objective in metrics and stage not in told and stage < num_stages:
            told.add(stage)
            report_stage(100 * stage / num_stages, metrics[objective])

    callbacks = RunCallbacks(on_train_step, QUIET.on_start, QUIET.on_finish, QUIET.on_rows)
    with tracked(run.config, files_of(run.store, f"runs/{trial_name(run)}")) as tracker:
        finish_artifact(run, "train", callbacks)
        facts = functools.partial(phase_summary, "train", run.artifacts)
        tracker.log_summary(run.artifacts["train"].folder, facts)


def score_of(run: Run) -> float:
    """Return the objective of the exported student of a finished training."""
    train = run.artifacts["train"]
    history = json.loads(train.store.read_text(f"{train.folder}/history.json"))
    objective = run.config.sweep.objective
    by_stage = {row["stage"]: row[objective] for row in history if objective in row}
    if run.config.student.exported_student == "best":
        return float(by_stage[train.manifest()["best"]["stage"]])
    return float(by_stage[max(by_stage)])
