"""A sweep: many trainings with other settings, judged by questions that none of them is trained on.

Phases that no trial changes are made once, before; those that several trials share, once when the first
needs them. All are ordinary artifacts: a sweep that was killed goes on where it was, and the best
settings, written as a config, are a run whose training is finished already.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
import yaml

from kpod_ray.cluster.capacity import check_resources, num_concurrent
from kpod_ray.cluster.connection import connect_with_dashboard
from kpod_ray.cluster.metrics_board import watched
from kpod_ray.cluster.tasks import SharedTaskRunner
from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.evaluation.phase import check_backend
from kpod_ray.pipeline.fingerprints import SCHEMA_VERSION
from kpod_ray.pipeline.naming import Run, check_models, name_run, open_run
from kpod_ray.pipeline.run import QUIET, RunCallbacks, finish_artifact, run_phases
from kpod_ray.report.sweep.data import FAILED, STOPPED, SweepPage, SweepTrial, ranked
from kpod_ray.sweep.trial import SHARED_PHASES, run_trial, trial_config
from kpod_ray.sweep.tuner import Settings, Sweep, tune_trials


@dataclasses.dataclass(frozen=True)
class SweepCallbacks:
    """What wants to know how a sweep goes."""

    shared: RunCallbacks
    """Hears of the phases that all trials share, and of those of the best trial after its training."""
    on_report: Callable[[str, Settings, Mapping[str, float]], None]
    """Gets a training's name, its settings and what it told: ``percent`` and the objective."""


@dataclasses.dataclass(frozen=True)
class SweepResults:
    """What came out of a sweep."""

    config: RunConfig
    """The sweep's own."""
    trials: tuple[SweepTrial, ...]
    best: SweepTrial
    best_run: Run
    """Its run, all phases of which are finished."""


def sweep(config: RunConfig, callbacks: SweepCallbacks) -> SweepResults:
    """Run the trials that aren't finished, then all phases of the best one; write its config.

    Raises:
        KpodError: The sweep can't be run as it is, or no trial was finished.
    """
    check_sweep(config)
    base = open_run(config)
    config = base.config
    connect_with_dashboard(config.resources)
    check_resources(config, (*SHARED_PHASES, "train", "evaluate"))
    max_concurrent = _max_concurrent(config)
    example = name_run(config.override({p: d.ends()[0] for p, d in config.sweep.space.items()}))
    for name in shared_phases(config):
        finish_artifact(example, name, callbacks.shared)
    trials = _run_trials(base, max_concurrent, callbacks)
    for trial in trials:
        if trial.state == STOPPED:
            _discard(name_run(trial_config(config, trial.settings, 0)))
    best = best_trial(trials, config)
    best_run = name_run(best_config(config, best))
    base.store.write_text(f"{base.folder}/best.yaml", _yaml(best_run.config))
    run_phases(best_run, "report", callbacks.shared)
    return SweepResults(config, tuple(trials), best, best_run)


def check_sweep(config: RunConfig) -> None:
    """Check a sweep before anything starts.

    Raises:
        KpodError: Its space is empty, a path in it unknown, a value not allowed or a model that isn't
            there, or its objective is not measured.
    """
    sweep, student = config.sweep, config.student
    if not sweep.space:
        raise KpodError("sweep.space is empty; give dotted paths and what they may be")
    if not student.validation_fraction:
        raise KpodError(
            "a sweep judges trials by questions that are held out; set student.validation_fraction, "
            "such as 0.1"
        )
    if sweep.objective == "validation_accuracy" and student.accuracy_every_stages is None:
        raise KpodError(
            "sweep.objective validation_accuracy is not measured; set student.accuracy_every_stages"
        )
    for path, domain in sweep.space.items():
        for value in domain.choice or domain.ends():
            check_models(config.override({path: value}))
    check_backend(config)


def shared_phases(config: RunConfig) -> list[str]:
    """Return the phases before the training that no trial changes."""
    space = config.sweep.space
    first = {path: domain.ends()[0] for path, domain in space.items()}
    usual = name_run(config.override(first)).artifacts
    changed = set[str]()
    for path, domain in space.items():
        for value in domain.choice or domain.ends():
            other = name_run(config.override({**first, path: value})).artifacts
            changed |= {n for n in SHARED_PHASES if other[n].folder != usual[n].folder}
    return [name for name in SHARED_PHASES if name not in changed]


def sweep_name(config: RunConfig) -> str:
    """Return the name under which Tune keeps a sweep: other settings are another sweep.

    Tune pickles the functions of trials by their module's path, so that another schema version is
    another sweep, too.
    """
    whatever = {"storage", "resources", "tracking", "comparison"}
    settings = config.model_dump(mode="json", exclude=whatever)
    settings["sweep"].pop("max_concurrent")
    digest = hashlib.sha256(
        json.dumps([SCHEMA_VERSION, settings], sort_keys=True).encode()
    ).hexdigest()
    return f"{config.name}-{digest[:8]}"


def best_trial(trials: Sequence[SweepTrial], config: RunConfig) -> SweepTrial:
    """Return the finished trial with the best objective, the first of several.

    Raises:
        KpodError: None is finished.
    """
    finished = ranked(trials, config.sweep.objective)
    if not finished:
        failed = [trial.error for trial in trials if trial.state == FAILED]
        reason = f", such as: {failed[0]}" if failed else ""
        raise KpodError(f"no trial of the sweep was finished, {len(failed)} failed{reason}")
    return finished[0]


def best_config(config: RunConfig, best: SweepTrial) -> RunConfig:
    """Return the config of a run with the best settings."""
    return trial_config(config, best.settings, 0).override({"name": f"{config.name}-best"})


def sweep_page(results: SweepResults) -> SweepPage:
    """Return what the page about a sweep shows."""
    config, made = results.config, results.best_run.artifacts
    manifests = {
        "untouched": made["evaluate_before"].manifest(),
        "best": made["evaluate"].manifest(),
    }
    return SweepPage(
        name=config.name,
        sweep=config.sweep,
        trials=results.trials,
        base={path: setting(config, path) for path in config.sweep.space},
        accuracies={name: manifest["accuracy"] for name, manifest in manifests.items()},
        versions=manifests["best"]["versions"],
        config_yaml=yaml.safe_dump(config.model_dump(), sort_keys=False),
        best_yaml=_yaml(results.best_run.config),
    )


def setting(config: RunConfig, path: str) -> Any:
    """Return the value at a dotted path; None inside a group that is None."""
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def _yaml(config: RunConfig) -> str:
    return yaml.safe_dump(config.model_dump(exclude={"sweep"}), sort_keys=False)


def make_artifact(config: RunConfig, name: str) -> None:
    """Make one artifact of a run, unless it is there; runs as a task."""
    finish_artifact(name_run(config), name, QUIET)


def _run_trials(base: Run, max_concurrent: int, callbacks: SweepCallbacks) -> list[SweepTrial]:
    config = base.config
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    shared_tasks = ray.remote(SharedTaskRunner).options(**options).remote(make_artifact)
    tuned = Sweep(config.sweep, base.store, sweep_name(config), config.seed, max_concurrent)

    def report_stage(report: Mapping[str, Any]) -> None:
        """Unpack what a trial posted."""
        callbacks.on_report(report["name"], report["settings"], report["metrics"])

    with watched(report_stage) as board:
        return tune_trials(functools.partial(run_trial, config, shared_tasks, board), tuned)


def _max_concurrent(config: RunConfig) -> int:
    """Return how many trials may run at the same time.

    Raises:
        KpodError: More are wanted than the cluster has room for.
    """
    most, wanted = num_concurrent(config), config.sweep.max_concurrent
    if wanted is not None and wanted > most:
        raise KpodError(
            f"sweep.max_concurrent={wanted}: the cluster has room for {most} trials at a time; ask for "
            "less, or add nodes"
        )
    return wanted or most


def _discard(run: Run) -> None:
    """Delete what the training of a stopped trial left: its checkpoints are large."""
    train = run.artifacts["train"]
    if not train.is_finished():
        train.store.delete(train.folder)
