"""A comparison of methods: arms times seeds over one shared corpus, each tested against a baseline.

Questions, rationales, token weights and step difficulties are made once, and again for an arm that
changes what determines the last two. Then every arm gets its plan, and every arm and seed its training
and evaluation, some at a time. All of them are ordinary artifacts: a comparison that was killed goes on
where it was, and arms that are added later are all that runs.
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
from kpod_ray.data.examples import Example, training_example
from kpod_ray.evaluation.phase import check_backend
from kpod_ray.pipeline.naming import Run, check_models, name_run, open_run
from kpod_ray.pipeline.run import (
    QUIET,
    RunCallbacks,
    check_test_questions,
    finish_artifact,
    join_cluster,
)
from kpod_ray.records import StageRow
from kpod_ray.report.comparison.collect import collect_comparison
from kpod_ray.report.comparison.data import ComparisonResults
from kpod_ray.storage.artifacts import Artifact, Manifest

SHARED = ("questions", "teacher", "weigh", "assess", "evaluate_before")
"""What is made of the settings that all arms start from, in order."""
PREPARED = ("weigh", "assess", "plan")
"""What an arm is trained on, in the order it is made in; the first two are mostly the shared ones."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One arm with one seed."""

    arm: str
    seed: int
    run: Run


@dataclasses.dataclass(frozen=True)
class ComparisonCallbacks:
    """What wants to know how a comparison goes."""

    shared: RunCallbacks
    """Hears of the phases that all arms share, and of what an arm is trained on."""
    on_trial: Callable[[Trial, Manifest, int, int], None]
    """Gets a finished trial, its evaluation, how many are finished, and how many there are."""


@explained()
def compare(config: RunConfig, callbacks: ComparisonCallbacks) -> ComparisonResults:
    """Train and evaluate every arm with every seed; return what came out.

    Raises:
        KpodError: The settings of an arm are wrong, a phase has nothing to work on, or the cluster is
            too small.
    """
    check_backend(config)
    base = open_run(config)
    comparison = base.config.comparison
    configs = {
        name: base.config.override(arm.overrides) for name, arm in comparison.chosen().items()
    }
    for of_arm in configs.values():
        check_models(of_arm)
    arms = {name: name_run(of_arm) for name, of_arm in configs.items()}
    for name in SHARED:
        manifest = finish_artifact(base, name, callbacks.shared)
        if name == "questions":
            check_test_questions(manifest)
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
    """Run the trials that aren't finished; of two with equal settings only one."""
    waiting = {t.run.artifacts["evaluate"].folder: t for t in trials if not _is_finished(t)}
    done = [trial for trial in trials if _is_finished(trial)]
    for count, trial in enumerate(done, start=1):
        callbacks.on_trial(trial, trial.run.artifacts["evaluate"].manifest(), count, len(trials))
    if not waiting:
        return
    chosen = list(waiting.values())
    config = chosen[0].run.config
    _join_cluster(chosen[0].run, ("train", "evaluate"))
    most = config.comparison.max_concurrent or num_concurrent(config)
    configs = [trial.run.config for trial in chosen]
    with contextlib.closing(run_tasks(train_and_evaluate, configs, most)) as finished:
        for index, _ in finished:
            folder = chosen[index].run.artifacts["evaluate"].folder
            for trial in (t for t in trials if t.run.artifacts["evaluate"].folder == folder):
                done.append(trial)
                manifest = trial.run.artifacts["evaluate"].manifest()
                callbacks.on_trial(trial, manifest, len(done), len(trials))


def _join_cluster(run: Run, names: Sequence[str]) -> None:
    """Connect to Ray, with a dashboard so that killed trainings free their CPUs, and check its room."""
    connect_with_dashboard(run.config.resources)
    join_cluster(run, names)


def _is_finished(trial: Trial) -> bool:
    return all(trial.run.artifacts[name].is_finished() for name in ("train", "evaluate"))


def train_and_evaluate(config: RunConfig) -> None:
    """Make the last artifacts of a run whose others are finished; runs in an actor."""
    run = name_run(config)
    for name in ("train", "evaluate"):
        finish_artifact(run, name, QUIET)


def _check_room(base: Run, arms: Iterable[Run]) -> None:
    """Join the cluster if anything is missing, and check its room for what the settings ask for."""
    if not all(base.artifacts[name].is_finished() for name in SHARED):
        _join_cluster(base, (*SHARED, "train", "evaluate"))
    for arm in arms:
        own = [n for n in PREPARED if arm.artifacts[n].folder != base.artifacts[n].folder]
        missing = [name for name in own if not arm.artifacts[name].is_finished()]
        if missing:
            _join_cluster(arm, missing)


def _prepare(arm: Run, callbacks: RunCallbacks) -> None:
    """Make the plan of an arm, and its weights and difficulties where they aren't the shared ones."""
    missing = [name for name in PREPARED if not arm.artifacts[name].is_finished()]
    if missing:
        _join_cluster(arm, missing)
    for name in dict.fromkeys((*missing, "plan")):
        finish_artifact(arm, name, callbacks)


def _trials(comparison: ComparisonConfig, arms: Mapping[str, Run]) -> Iterator[Trial]:
    """Name the trials of arms whose plans are made."""
    budget = _budget(comparison, arms[comparison.baseline])
    for name, arm in arms.items():
        for seed in range(comparison.num_seeds):
            yield Trial(name, seed, name_run(arm.config.override({**budget, "student.seed": seed})))


def _budget(comparison: ComparisonConfig, baseline: Run) -> Mapping[str, Any]:
    """Return the overrides that give all arms the same budget."""
    if comparison.budget == "train_steps":
        return {}  # all stages have as many train steps in every arm
    examples = Example.from_table(baseline.artifacts["assess"].read("examples"))
    rows = StageRow.from_table(baseline.artifacts["plan"].read("schedule"))
    return {"student.loss_token_budget": _supervised_tokens(examples, rows, baseline.config)}


def _supervised_tokens(
    examples: Sequence[Example], rows: Sequence[StageRow], config: RunConfig
) -> int:
    """Return the tokens in the loss over all stages of a plan."""
    by_id = {e.question_id: training_example(e, config.student) for e in examples}
    return sum(
        num_loss_tokens(by_id[row.question_id], row.num_given_steps)
        for row in rows
        if row.stage > 0
    )
