"""Run a sweep: train trials with different settings, and compare them on the student's validation set.

Artifacts that no setting of the sweep changes are made before the trials; artifacts that several trials
share are made once, when the first of the trials needs them. All artifacts are those of ordinary runs: a
sweep that was killed resumes, and the best settings, written as a config, are a run whose training is
already finished.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from kpod_ray.cluster.capacity import check_resources, num_concurrent
from kpod_ray.cluster.connection import connect_with_dashboard
from kpod_ray.cluster.metrics_board import watched
from kpod_ray.cluster.tasks import SharedTaskRunner
from kpod_ray.config import RunConfig
from kpod_ray.config.reading.strict_yaml import write_yaml
from kpod_ray.errors import KpodError
from kpod_ray.evaluation.paired import compare_models
from kpod_ray.pipeline.naming import Run, name_run, open_run
from kpod_ray.pipeline.run import QUIET, RunCallbacks, finish_artifact, run_phases
from kpod_ray.questions.splits import check_test_questions
from kpod_ray.report.sweep.data import FAILED, STOPPED, SweepPage, SweepTrial, ranked
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.lease import leased
from kpod_ray.sweep.space import check_sweep
from kpod_ray.sweep.trial import SHARED_PHASES, run_trial, trial_config
from kpod_ray.sweep.tuner import Settings, Sweep, tune_trials


@dataclasses.dataclass(frozen=True)
class SweepCallbacks:
    """Functions that a sweep calls to report its progress."""

    shared: RunCallbacks
    """Callbacks of the phases that all trials share, and of all phases of the best run; not of the
    trials."""
    on_report: Callable[[str, Settings, Mapping[str, float]], None]
    """Takes the name of a trial's training (`trial_name`), the trial's settings, and its metrics:
    ``percent`` of the training that is done, and the objective by its name. Called for each stage below
    ``schedule.num_stages`` in which the objective is measured, and with 100 per cent at the end of each
    training of a trial. Called in a thread; after an exception, the callback isn't called again, and the
    sweep goes on."""


@dataclasses.dataclass(frozen=True)
class SweepResults:
    """The result of a sweep."""

    config: RunConfig
    """Config of the sweep, without the settings of a trial and with an absolute storage."""
    trials: tuple[SweepTrial, ...]
    """All trials: finished, stopped early and failed."""
    best: SweepTrial
    """The finished trial with the best objective, see `best_trial`."""
    best_run: Run
    """The run with the settings of ``best``; all of its phases are finished."""


def sweep(config: RunConfig, callbacks: SweepCallbacks) -> SweepResults:
    """Run the unfinished trials, write the config of the best trial, and run its remaining phases.

    Ray is joined or started, and stays connected. The config of the best trial replaces the file
    ``best.yaml`` in the sweep's folder ``runs/NAME``; its run is named ``NAME-best``. Unfinished
    trainings of trials that were stopped early are deleted with their checkpoints. A trial that fails is
    retried once, and doesn't end the sweep.

    Raises:
        KpodError: `check_sweep` or `open_run` refuses the config, no cluster answers at the address, the
            cluster is too small for a phase or for ``sweep.max_concurrent``, the saved state of the
            sweep is damaged, there is no test question, no trial is finished, or a phase outside the
            trials fails.
        Exception: As in `check_sweep`, `open_run`, `tune_trials`, `finish_artifact` and `run_phases`.
    """
    check_sweep(config)
    base = open_run(config)
    config = base.config
    connect_with_dashboard(config.resources)
    check_resources(config, (*SHARED_PHASES, "train", "evaluate"))
    max_concurrent = _max_concurrent(config)
    example = name_run(config.override({p: d.ends()[0] for p, d in config.sweep.space.items()}))
    for name in shared_phases(config):
        manifest = finish_artifact(example, name, callbacks.shared)
        if name == "questions":
            check_test_questions(manifest["counts"]["test"])
    trials = _run_trials(base, max_concurrent, callbacks)
    for trial in trials:
        if trial.state == STOPPED:
            _discard(name_run(trial_config(config, trial.settings, 0)), callbacks.shared)
    best = best_trial(trials, config)
    best_run = name_run(best_config(config, best))
    base.store.write_text(f"{base.folder}/best.yaml", _yaml(best_run.config))
    run_phases(best_run, "report", callbacks.shared)
    return SweepResults(config, tuple(trials), best, best_run)


def shared_phases(config: RunConfig) -> list[str]:
    """Return the phases of `SHARED_PHASES` whose artifacts are the same for all trials, in order.

    Each choice and both ends of each range are tried, one setting at a time: if no value of a single
    setting changes an artifact's name, no combination does.

    Raises:
        KpodError: A value is invalid, or as in `name_run`.
        OSError: As in `name_run`.
    """
    base, *others = _tried_artifacts(config)
    changed = {
        name
        for name in SHARED_PHASES
        for other in others
        if other[name].folder != base[name].folder
    }
    return [name for name in SHARED_PHASES if name not in changed]


def _tried_artifacts(config: RunConfig) -> list[Mapping[str, Artifact]]:
    """Return the artifacts of one trial, and of trials that differ from it in one setting."""
    space = config.sweep.space
    first = {path: domain.ends()[0] for path, domain in space.items()}
    tried = [first]
    for path, domain in space.items():
        tried += [{**first, path: value} for value in domain.choice or domain.ends()]
    return [name_run(config.override(settings)).artifacts for settings in tried]


def sweep_name(config: RunConfig) -> str:
    """Return the name under which the trials of a sweep are kept: ``NAME-`` and 8 hex digits.

    The digits are a hash of the settings that matter to the results, and of the fingerprints of the
    trainings, which cover the content of files and model folders: a sweep with other settings or edited
    files starts anew.

    Raises:
        KpodError: As in `shared_phases`.
        OSError: As in `shared_phases`.
    """
    irrelevant = {"storage", "resources", "tracking", "comparison"}
    settings = config.model_dump(mode="json", exclude=irrelevant)
    settings["sweep"].pop("max_concurrent")
    settings["evaluation"].pop("also")
    trainings = [artifacts["train"].fingerprint for artifacts in _tried_artifacts(config)]
    digest = hashlib.sha256(json.dumps([settings, trainings], sort_keys=True).encode()).hexdigest()
    return f"{config.name}-{digest[:8]}"


def best_trial(trials: Sequence[SweepTrial], config: RunConfig) -> SweepTrial:
    """Return the finished trial with the best ``sweep.objective``, of equal trials the first given.

    The best loss is the lowest, the best accuracy the highest.

    Raises:
        KpodError: No trial is finished with a score other than NaN; the message quotes the error of a
            failed trial, if there is one.
    """
    finished = ranked(trials, config.sweep.objective)
    if not finished:
        failed = [trial.error for trial in trials if trial.state == FAILED]
        reason = f", such as: {failed[0]}" if failed else ""
        raise KpodError(f"no trial of the sweep was finished, {len(failed)} failed{reason}")
    return finished[0]


def best_config(config: RunConfig, best: SweepTrial) -> RunConfig:
    """Return the sweep's config with the settings of the best trial, named ``NAME-best``.

    The run trains with the seed of the trial's first training, so that this training is reused.

    Raises:
        KpodError: As in `trial_config`.
    """
    return trial_config(config, best.settings, 0).override({"name": f"{config.name}-best"})


def sweep_page(results: SweepResults) -> SweepPage:
    """Return the content of the HTML page about a sweep.

    The manifests of ``evaluate_before`` and ``evaluate`` of the best run are read from the store.

    Raises:
        KpodError: One of the two artifacts isn't finished or is damaged.
    """
    config = results.config
    artifacts = results.best_run.artifacts
    manifests = {
        "untouched": artifacts["evaluate_before"].manifest(),
        "best": artifacts["evaluate"].manifest(),
    }
    return SweepPage(
        name=config.name,
        sweep=config.sweep,
        trials=results.trials,
        base={path: setting(config, path) for path in config.sweep.space},
        accuracies={name: manifest["accuracy"] for name, manifest in manifests.items()},
        gain=compare_models(artifacts["evaluate_before"], artifacts["evaluate"]),
        versions=manifests["best"]["versions"],
        config_yaml=write_yaml(config.model_dump()),
        best_yaml=_yaml(results.best_run.config),
    )


def setting(config: RunConfig, path: str) -> Any:
    """Return the value, perhaps None, of the setting at a dotted path; None if there is no such setting.

    A path leads through groups of settings, not through keys of a mapping such as ``engine_kwargs``.
    """
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def _yaml(config: RunConfig) -> str:
    return write_yaml(config.model_dump(exclude={"sweep"}))


def make_artifact(config: RunConfig, name: str) -> None:
    """Make one artifact of a run if it isn't finished, without callbacks.

    `SharedTaskRunner` runs the function as a Ray task; Ray is connected if necessary. The artifacts of
    earlier phases must be finished. ``name`` is a key of `name_artifacts`.

    Raises:
        Exception: As in `name_run` and `finish_artifact`.
    """
    finish_artifact(name_run(config), name, QUIET)


def _run_trials(base: Run, max_concurrent: int, callbacks: SweepCallbacks) -> list[SweepTrial]:
    """Run the unfinished trials with Ray Tune, and return all trials.

    Trials run in other processes: they report their progress through the metrics board, and have shared
    artifacts made by one `SharedTaskRunner`.
    """
    config = base.config
    # num_cpus 0: the actor only starts tasks and waits for them, and must not occupy a core
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    shared_tasks = ray.remote(SharedTaskRunner).options(**options).remote(make_artifact)
    tuned = Sweep(config.sweep, base.store, sweep_name(config), config.seed, max_concurrent)

    def report_stage(report: Mapping[str, Any]) -> None:
        """Pass a report that a trial posted on the board to the callback."""
        callbacks.on_report(report["name"], report["settings"], report["metrics"])

    with watched(report_stage) as board:
        return tune_trials(functools.partial(run_trial, config, shared_tasks, board), tuned)


def _max_concurrent(config: RunConfig) -> int:
    """Return the number of trials that run at the same time.

    Raises:
        KpodError: ``sweep.max_concurrent`` is larger than the cluster allows.
    """
    most = num_concurrent(config)
    wanted = config.sweep.max_concurrent
    if wanted is not None and wanted > most:
        raise KpodError(
            f"sweep.max_concurrent={wanted}: the cluster has room for {most} trials at a time; ask for "
            "less, or add nodes"
        )
    return wanted or most


def _discard(run: Run, callbacks: RunCallbacks) -> None:
    """Delete the unfinished train artifact of a stopped trial, whose checkpoints are large.

    If another process goes on with the training, the function waits for the end.
    """
    train = run.artifacts["train"]
    on_wait = functools.partial(callbacks.on_wait, "train")
    with leased(train.store, train.folder, train.is_finished, on_wait, callbacks.on_lost) as lease:
        if lease is not None:
            train.store.delete(train.folder)
