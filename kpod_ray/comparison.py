"""Compare methods: train and evaluate every arm with every seed, and test each arm against a baseline.

All arms share the questions and rationales, and also the token weights and step difficulties, unless the
settings of an arm change how these are computed. Each arm has its own plan, each trial (an arm with a
seed) its own training and evaluation; several trials run at the same time. All results are ordinary
artifacts, so a killed comparison is resumed, and a repeated comparison with additional arms runs only
these arms.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from kpod_ray.cluster.capacity import num_concurrent
from kpod_ray.cluster.connection import connect_with_dashboard
from kpod_ray.cluster.failures import explained
from kpod_ray.cluster.tasks import run_tasks
from kpod_ray.config import ComparisonConfig, RunConfig
from kpod_ray.data.batches import num_loss_tokens
from kpod_ray.data.examples import Example
from kpod_ray.data.training_examples import supervised_example
from kpod_ray.pipeline.checks import check_comparison
from kpod_ray.pipeline.naming import Run, name_run, open_run
from kpod_ray.pipeline.run import (
    QUIET,
    RunCallbacks,
    check_finished,
    finish_artifact,
    join_cluster,
)
from kpod_ray.questions.splits import check_test_questions
from kpod_ray.records import StageRow
from kpod_ray.report.comparison.collect import collect_comparison
from kpod_ray.report.comparison.data import ComparisonResults
from kpod_ray.storage.artifacts import Artifact, Manifest
from kpod_ray.storage.lease import Lease

SHARED = ("questions", "teacher", "weigh", "assess", "evaluate_before")
"""Artifacts of the base settings, which the arms share, in the order of the phases."""
PREPARED = ("weigh", "assess", "plan")
"""Artifacts that an arm is trained on, in the order of the phases."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One arm with one seed."""

    arm: str
    seed: int
    """``student.seed``, from 0."""
    run: Run


@dataclasses.dataclass(frozen=True)
class ComparisonCallbacks:
    """Callbacks for the progress of a comparison."""

    shared: RunCallbacks
    """Called for the shared phases, and for the plan of each arm. For token weights and step
    difficulties of an arm's own, only ``on_start`` and ``on_rows`` are called; for trials, none."""
    on_trial: Callable[[Trial, Manifest, int, int], None]
    """Called once for each trial when it is finished, with the trial, the manifest of its artifact
    ``evaluate``, the number of finished trials, and the number of all trials. Trials that were finished
    before the call of `compare` come first."""


@explained()
def compare(config: RunConfig, callbacks: ComparisonCallbacks) -> ComparisonResults:
    """Train and evaluate every arm with every seed; return the results.

    ``config`` has the base settings, and the arms and the number of seeds in ``comparison``. Finished
    artifacts are reused, and only artifacts are written. Ray is joined or started if an artifact is
    unfinished, and stays connected. The first trial that fails ends the comparison; the trials that
    still run are killed.

    Returns:
        The results of the untouched student as the first arm, and of every arm.

    Raises:
        KpodError: `check_comparison` or `open_run` refuses the config, there is no test question, no
            cluster answers at the address, the cluster is too small, or a phase or a trial fails (see
            `finish_artifact`).
        OSError: As in `check_comparison`.
        ValueError: As in `check_comparison`.
        Exception: A phase or a trial failed for another reason.
    """
    check_comparison(config)
    base = open_run(config)
    comparison = base.config.comparison
    arms = {
        name: name_run(base.config.override(arm.overrides))
        for name, arm in comparison.chosen().items()
    }
    check_finished(base, SHARED)
    for name in SHARED:
        manifest = finish_artifact(base, name, callbacks.shared)
        if name == "questions":  # all further checks come before the first expensive phase
            check_test_questions(manifest["counts"]["test"])
            _check_room(base, arms.values())
    for arm in arms.values():
        _prepare(arm, callbacks.shared)
    trials = list(_trials(comparison, arms))
    _run(trials, callbacks)
    by_arm: dict[str, list[Mapping[str, Artifact]]] = {}
    for trial in trials:
        by_arm.setdefault(trial.arm, []).append(trial.run.artifacts)
    return collect_comparison(base.config, base.artifacts, by_arm)


def _run(trials: Sequence[Trial], callbacks: ComparisonCallbacks) -> None:
    """Run the trials that aren't finished, several at the same time, and report all trials."""
    # Trials with equal settings have the same folder: only one of them may run and write it.
    waiting = {t.run.artifacts["evaluate"].folder: t for t in trials if not _is_finished(t)}
    done = [trial for trial in trials if _is_finished(trial)]
    for count, trial in enumerate(done, start=1):
        callbacks.on_trial(trial, trial.run.artifacts["evaluate"].manifest(), count, len(trials))
    if not waiting:
        return
    chosen = list(waiting.values())
    config = chosen[0].run.config
    _join_cluster(chosen[0].run, ("train", "evaluate"))
    _tell_waits(chosen, callbacks.shared)
    most = config.comparison.max_concurrent or num_concurrent(config)
    configs = [trial.run.config for trial in chosen]
    with contextlib.closing(run_tasks(train_and_evaluate, configs, most)) as finished:
        for index, _ in finished:
            folder = chosen[index].run.artifacts["evaluate"].folder
            for trial in (t for t in trials if t.run.artifacts["evaluate"].folder == folder):
                done.append(trial)
                manifest = trial.run.artifacts["evaluate"].manifest()
                callbacks.on_trial(trial, manifest, len(done), len(trials))


def _tell_waits(trials: Iterable[Trial], callbacks: RunCallbacks) -> None:
    """Report the artifacts of trials that other processes are making: trials wait silently."""
    for trial in trials:
        for name in ("train", "evaluate"):
            artifact = trial.run.artifacts[name]
            holder = Lease(artifact.store, artifact.folder, artifact.is_finished).holder()
            if holder is not None and not artifact.is_finished():
                callbacks.on_wait(name, holder)


def _join_cluster(run: Run, names: Sequence[str]) -> None:
    """Connect to Ray, and check that the cluster has the resources for the named phases.

    Ray is started with a dashboard, because Ray Train needs it to free the CPUs of killed trainings.
    """
    connect_with_dashboard(run.config.resources)
    join_cluster(run, names)


def _is_finished(trial: Trial) -> bool:
    return all(trial.run.artifacts[name].is_finished() for name in ("train", "evaluate"))


def train_and_evaluate(config: RunConfig) -> None:
    """Train and evaluate a run, without callbacks; finished artifacts aren't made again.

    The artifacts of the earlier phases must be finished. `run_tasks` runs the function in a Ray actor.

    Raises:
        KpodError: `name_run` or `finish_artifact` fails.
        Exception: As in `finish_artifact`.
    """
    run = name_run(config)
    for name in ("train", "evaluate"):
        finish_artifact(run, name, QUIET)


def _check_room(base: Run, arms: Iterable[Run]) -> None:
    """Check that the cluster has the resources for all unfinished phases of the base and the arms."""
    if not all(base.artifacts[name].is_finished() for name in SHARED):
        _join_cluster(base, (*SHARED, "train", "evaluate"))
    for arm in arms:
        own = [n for n in PREPARED if arm.artifacts[n].folder != base.artifacts[n].folder]
        missing = [name for name in own if not arm.artifacts[name].is_finished()]
        if missing:
            _join_cluster(arm, missing)


def _prepare(arm: Run, callbacks: RunCallbacks) -> None:
    """Finish the plan of an arm, and its own token weights and step difficulties, if not shared."""
    missing = [name for name in PREPARED if not arm.artifacts[name].is_finished()]
    if missing:
        _join_cluster(arm, missing)
    check_finished(arm, PREPARED)
    # The seconds and curves of the base run's weights and difficulties are shown, not those of an arm.
    own = dataclasses.replace(
        callbacks, on_train_step=QUIET.on_train_step, on_finish=QUIET.on_finish
    )
    for name in dict.fromkeys((*missing, "plan")):
        finish_artifact(arm, name, callbacks if name == "plan" else own)


def _trials(comparison: ComparisonConfig, arms: Mapping[str, Run]) -> Iterator[Trial]:
    """Yield the trials of all arms; the baseline's plan must be finished, because it sets the budget."""
    budget = _budget(comparison, arms[comparison.baseline])
    for name, arm in arms.items():
        for seed in range(comparison.num_seeds):
            yield Trial(name, seed, name_run(arm.config.override({**budget, "student.seed": seed})))


def _budget(comparison: ComparisonConfig, baseline: Run) -> Mapping[str, Any]:
    """Return the overrides of the config that give all arms the same training budget."""
    if comparison.budget == "train_steps":
        return {}  # every stage has the same number of train steps in every arm
    examples = Example.from_table(baseline.artifacts["assess"].read("examples"))
    rows = StageRow.from_table(baseline.artifacts["plan"].read("schedule"))
    return {"student.loss_token_budget": _supervised_tokens(examples, rows, baseline.config)}


def _supervised_tokens(
    examples: Sequence[Example], rows: Sequence[StageRow], config: RunConfig
) -> int:
    """Return the number of tokens in the loss over all stages of a plan."""
    by_id = {e.question_id: supervised_example(e, config.student) for e in examples}
    return sum(
        num_loss_tokens(by_id[row.question_id], row.num_given_steps)
        for row in rows
        if row.stage > 0  # stage 0 is the state before training
    )
