"""One trial of a sweep: the student trained with the trial's settings, once per seed.

A trial runs in a process of its own. Artifacts of the phases before the training are made by an actor
that all trials share, so that each of these artifacts is made once.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import ray

from kpod_ray.cluster.connection import connect
from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.naming import Run, name_run
from kpod_ray.pipeline.run import QUIET, check_finished, finish_artifact
from kpod_ray.sweep.tuner import Report, Settings
from kpod_ray.tracking import tracked
from kpod_ray.tracking.phase_summaries import phase_summary
from kpod_ray.tracking.prometheus import Gauges
from kpod_ray.tracking.wandb_upload import files_of

SHARED_PHASES = ("questions", "teacher", "weigh", "assess", "plan")
"""The phases before the training, in order; trials with the same settings share their artifacts."""


def trial_config(base: RunConfig, settings: Settings, seed: int) -> RunConfig:
    """Return the config of one training of a trial.

    With ``sweep.num_seeds`` above 1, ``student.seed`` is the training seed of ``base`` plus ``seed``,
    the index of the training in the trial, from 0; else ``seed`` is ignored. ``tracking.group`` is the
    sweep's name if ``base`` has no group.

    Raises:
        KpodError: A path of ``settings`` names no setting, or a value is not allowed.
    """
    overrides: dict[str, Any] = {**settings}
    if base.tracking.group is None:
        overrides["tracking.group"] = base.name
    if base.sweep.num_seeds > 1:
        overrides["student.seed"] = base.training_seed + seed
    return base.override(overrides)


def trial_name(run: Run) -> str:
    """Return the name of a training of a sweep: the run's name, a hyphen, 8 hexadecimal digits.

    The digits are the first of the fingerprint of the artifact ``train``: trainings with the same
    settings have the same name.
    """
    return f"{run.config.name}-{run.artifacts['train'].fingerprint[:8]}"


def run_trial(
    base: RunConfig,
    shared_tasks: Any,
    board: Any,
    trial_id: str,
    settings: Settings,
    report: Report,
) -> float:
    """Train the student with a trial's settings, once per seed; return the mean of `score_of`.

    The function connects to Ray, and must run in a trial's process of Ray Tune. Finished artifacts are
    reused. Each training is tracked as a run with the name `trial_name`.

    ``base`` is the config of the sweep, with an absolute storage. ``shared_tasks`` is the handle of a
    `SharedTaskRunner` actor, which makes artifacts that trials share; ``board`` is the handle of a
    `MetricsBoard` actor, to which the progress of all trainings is posted. ``report`` is called with the
    progress in per cent and the objective during the first training, once for each stage below
    ``schedule.num_stages`` in which the objective is measured; not if the first training is finished
    already.

    Raises:
        KpodError: Another trial with the same settings claimed the training and hasn't finished it, no
            cluster answers at the address, a setting is invalid, or the training fails (see
            `finish_artifact`).
        ray.exceptions.RayTaskError: An artifact of `SHARED_PHASES` can't be made.
        Exception: As in `finish_artifact` and `score_of`.
    """
    connect(base.resources)
    scores = []
    for seed in range(base.sweep.num_seeds):
        run = name_run(trial_config(base, settings, seed))
        _make_shared(run, shared_tasks)
        _claim(run, shared_tasks, trial_id)

        def report_stage(percent: float, value: float, run: Run = run, seed: int = seed) -> None:
            """Post the objective after a stage to the board; report it to Ray Tune for seed 0."""
            metrics = {"percent": percent, base.sweep.objective: value}
            post = {"name": trial_name(run), "settings": dict(settings), "metrics": metrics}
            board.post.remote(post)
            # Early stopping needs one curve per trial with increasing progress: the first training's.
            if seed == 0 and percent < 100:
                report(percent, value)

        _train(run, report_stage)
        scores.append(score_of(run))
        report_stage(100.0, scores[-1])
    return float(np.mean(scores))


def _make_shared(run: Run, shared_tasks: Any) -> None:
    """Have the artifacts of `SHARED_PHASES` made unless they are finished."""
    for name in SHARED_PHASES:
        if not run.artifacts[name].is_finished():
            folder = run.artifacts[name].folder
            ray.get(shared_tasks.make.remote(folder, run.config, name))
    check_finished(run, SHARED_PHASES)


def _claim(run: Run, shared_tasks: Any, trial_id: str) -> None:
    """Claim the artifact of the training, so that no other trial trains the same student.

    Raises:
        KpodError: Another trial claimed the artifact first and the artifact isn't finished.
    """
    train = run.artifacts["train"]
    first = ray.get(shared_tasks.claim.remote(train.folder, trial_id))
    if first != trial_id and not train.is_finished():
        raise KpodError(f"the same settings as trial {first}")


def _train(run: Run, report_stage: Callable[[float, float], None]) -> None:
    """Train the student unless its artifact is finished; report the objective once a stage.

    The last stage isn't reported: its objective is the result of the trial.
    """
    objective = run.config.sweep.objective
    num_stages = run.config.schedule.num_stages
    reported_stages = set[int]()
    gauges = Gauges(trial_name(run))

    def on_train_step(phase: str, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a train step; report the objective when a stage has its first value."""
        tracker.log({f"{phase}/{name}": value for name, value in metrics.items()})
        gauges.train_step(phase, metrics)
        stage = int(metrics["stage"])
        if objective in metrics and stage not in reported_stages and stage < num_stages:
            reported_stages.add(stage)
            report_stage(100 * stage / num_stages, metrics[objective])

    callbacks = dataclasses.replace(QUIET, on_train_step=on_train_step)
    with tracked(run.config, files_of(run.store, f"runs/{trial_name(run)}")) as tracker:
        finish_artifact(run, "train", callbacks)
        summary = functools.partial(phase_summary, "train", run.artifacts)
        tracker.log_summary(run.artifacts["train"].folder, summary)


def score_of(run: Run) -> float:
    """Return the value of ``sweep.objective`` that a finished training has reached.

    If ``student.exported_student`` is ``best``, the value is that of the best stage, the one
    whose student was exported; else that of the last stage in which the objective was measured.

    Raises:
        KpodError: The artifact ``train`` isn't finished or is damaged.
        KeyError: The objective wasn't measured in the best stage.
        ValueError: The objective was never measured.
    """
    train = run.artifacts["train"]
    history = train.read_json("history")
    objective = run.config.sweep.objective
    by_stage = {row["stage"]: row[objective] for row in history if objective in row}
    if run.config.student.exported_student == "best":
        return float(by_stage[train.manifest()["best"]["stage"]])
    return float(by_stage[max(by_stage)])
