"""Prepare the trials of a comparison: questions, rationales, token weights, difficulties and plans."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from kpod_ray.comparison.running import join_for, run_unfinished
from kpod_ray.comparison.trials import trial_config
from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.naming import Run, name_run
from kpod_ray.pipeline.run import QUIET, RunCallbacks, check_finished, finish_artifact
from kpod_ray.questions.splits import check_test_questions
from kpod_ray.records import Question

CORPUS = ("questions", "teacher", "weigh", "assess")
"""Artifacts that arms share unless their settings change them, in the order of the phases."""
PREPARED = ("weigh", "assess", "plan")
"""Artifacts that an arm is trained on and that its settings may change, in the order of the phases."""


def trial_artifacts(config: RunConfig) -> tuple[str, ...]:
    """Return the names of the artifacts of each trial, in the order in which they are made."""
    names = ("train", "evaluate")
    # The last artifact depends on all others.
    return ("questions_also", *names, "evaluate_also") if config.evaluation.also else names


def prepare_base(base: Run, callbacks: RunCallbacks) -> None:
    """Finish the artifacts of the base settings that trials need, and check the cluster.

    These are the test questions, and the whole corpus if all seeds share it
    (``comparison.resample=order``).

    Raises:
        KpodError: A finished artifact is damaged, there is no test question, no cluster answers at the
            address, the cluster is too small, or a phase fails.
        Exception: As in `finish_artifact`.
    """
    is_shared = base.config.comparison.resample == "order"
    names = CORPUS if is_shared else CORPUS[:1]
    check_finished(base, (*names, *_untrained(base)))
    for name in names:
        manifest = finish_artifact(base, name, callbacks)
        if name == "questions":  # all further checks come before the first expensive phase
            check_test_questions(manifest["counts"]["test"])
            if base.config.evaluation.also:
                finish_artifact(base, "questions_also", callbacks)
            _check_room(base)


def evaluate_untrained(base: Run, callbacks: RunCallbacks) -> None:
    """Finish the untouched student's answers to the test questions; the questions must be finished.

    The questions of the further test sets are answered, too.

    Raises:
        KpodError: No cluster answers at the address, or the phase fails.
        Exception: As in `finish_artifact`.
    """
    for name in _untrained(base):
        finish_artifact(base, name, callbacks)


def _untrained(base: Run) -> list[str]:
    """Return the names of the artifacts with the answers of the untouched student."""
    return [name for name in base.artifacts if name.endswith("_before")]


def prepare_arms(
    base: Run, arms: Sequence[str], seeds: Sequence[int], callbacks: RunCallbacks
) -> None:
    """Finish the plan of each arm for each seed, and everything before it that isn't shared.

    Raises:
        KpodError: As in `prepare_base`; or the test questions of a seed aren't those of the base
            settings, because the source of the questions changed.
        Exception: As in `finish_artifact`.
    """
    if base.config.comparison.resample == "order":
        for arm in arms:
            _prepare(name_run(trial_config(base.config, arm, 0)), callbacks)
        return
    # All seeds of one arm come before those of the next: seeds have nothing in common, so that they are
    # prepared at the same time, while two arms of one seed would wait for each other.
    pairs = [(arm, seed) for arm in arms for seed in seeds]
    runs = [name_run(trial_config(base.config, arm, seed)) for arm, seed in pairs]
    expected = _test_questions(base)
    for index in run_unfinished(runs, (*CORPUS, "plan"), callbacks):
        if _test_questions(runs[index]) != expected:
            raise KpodError(
                f"the test questions of seed {pairs[index][1]} aren't those of the comparison: the "
                "source of the questions has changed; start the comparison again"
            )


def _test_questions(run: Run) -> Sequence[Question]:
    rows = Question.from_table(run.artifacts["questions"].read("questions"))
    return [row for row in rows if row.split == "test"]


def _check_room(base: Run) -> None:
    """Check that the cluster has the resources for all unfinished phases of the comparison."""
    comparison = base.config.comparison
    first = base
    if comparison.resample != "order":  # the base settings have no corpus of their own
        first = name_run(trial_config(base.config, comparison.baseline, comparison.first_seed))
    needed = [
        *(base.artifacts[name] for name in _untrained(base)),
        *(first.artifacts[name] for name in CORPUS),
    ]
    if not all(artifact.is_finished() for artifact in needed):
        join_for(first, (*CORPUS, *_untrained(base), *trial_artifacts(base.config)))
    for name in comparison.arms:
        arm = name_run(trial_config(base.config, name, comparison.first_seed))
        own = [n for n in PREPARED if arm.artifacts[n].folder != first.artifacts[n].folder]
        missing = [n for n in own if not arm.artifacts[n].is_finished()]
        if missing:
            join_for(arm, missing)


def _prepare(arm: Run, callbacks: RunCallbacks) -> None:
    """Finish the plan of an arm, and its own token weights and step difficulties, if not shared."""
    missing = [name for name in PREPARED if not arm.artifacts[name].is_finished()]
    if missing:
        join_for(arm, missing)
    check_finished(arm, PREPARED)
    # The seconds and curves of the base run's weights and difficulties are shown, not those of an arm.
    own = dataclasses.replace(
        callbacks, on_train_step=QUIET.on_train_step, on_finish=QUIET.on_finish
    )
    for name in dict.fromkeys((*missing, "plan")):
        finish_artifact(arm, name, callbacks if name == "plan" else own)
