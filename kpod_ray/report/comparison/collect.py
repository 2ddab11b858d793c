"""Read the outcomes of trials from the artifacts of their finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.config import RunConfig
from kpod_ray.config.comparison import UNTRAINED
from kpod_ray.evaluation.steps import extra_steps, num_reasoning_steps, stops_early
from kpod_ray.records import Prediction, Question
from kpod_ray.report.comparison.costs import total_cost
from kpod_ray.report.comparison.data import StagePoint
from kpod_ray.report.comparison.outcomes import QuestionSet, TrialOutcome
from kpod_ray.schedule.tables import decided_schedule, given_steps
from kpod_ray.storage.artifacts import Artifact

Artifacts = Mapping[str, Artifact]
_DIGITS = 6
"""Digits after the decimal point of losses and seconds."""
_NODE_ID_LENGTH = 12
"""Length to which ids of nodes are shortened; nodes of one cluster differ within it."""


def collect_questions(config: RunConfig, questions: Artifact) -> QuestionSet:
    """Return the test questions that are answered, in their order.

    Args:
        config: base settings of the comparison.
        questions: finished artifact of phase ``questions``.

    Raises:
        KpodError: The artifact isn't finished or is damaged.
    """
    rows = Question.from_table(questions.read("questions"))
    tested = [row for row in rows if row.split == "test"][: config.evaluation.limit]
    return QuestionSet(
        tuple(row.id for row in tested), tuple(_num_steps(row, config) for row in tested)
    )


def collect_untrained(settings: str, artifacts: Artifacts, questions: QuestionSet) -> TrialOutcome:
    """Return the outcome of the untouched student, as arm `UNTRAINED` with seed 0.

    ``settings`` is the fingerprint of the settings, see `TrialOutcome.settings`. ``artifacts`` holds
    ``evaluate_before`` of the base settings by name, finished, and ``evaluate_also_before`` if there are
    further test sets; errors are as in `collect_trial`.
    """
    evaluation = artifacts["evaluate_before"]
    return TrialOutcome(
        arm=UNTRAINED,
        seed=0,
        settings=settings,
        **_answers(evaluation, questions),
        also=_also(artifacts.get("evaluate_also_before")),
        versions=evaluation.manifest()["versions"],
    )


def collect_trial(
    trial: tuple[str, int, str], config: RunConfig, artifacts: Artifacts, questions: QuestionSet
) -> TrialOutcome:
    """Return the outcome of a finished trial.

    Args:
        trial: name of the arm, seed, and fingerprint of the settings, see `TrialOutcome.settings`.
        config: config of the trial.
        artifacts: artifacts of the trial by name, all finished.
        questions: test questions of the comparison.

    Raises:
        KpodError: An artifact isn't finished or is damaged.
        KeyError: The trial has no prediction for a test question.
    """
    arm, seed, settings = trial
    manifest = artifacts["train"].manifest()
    cost = total_cost(config, artifacts)
    return TrialOutcome(
        arm=arm,
        seed=seed,
        settings=settings,
        **_answers(artifacts["evaluate"], questions),
        also=_also(artifacts.get("evaluate_also")),
        keypoint_share=manifest["keypoint_share"],
        learning_rate=config.student.learning_rate,
        supervised_tokens=manifest["counts"]["loss_tokens"],
        train_tokens=manifest["counts"]["tokens"],
        train_steps=manifest["counts"]["train_steps"],
        train_seconds=manifest["seconds"],
        cost_tokens=cost.tokens,
        cost_seconds=round(cost.seconds, _DIGITS),
        curve=_curve(artifacts["train"]),
        nodes={n["id"][:_NODE_ID_LENGTH]: n["labels"] for n in manifest.get("nodes", ())},
    )


def final_validation_accuracy(train: Artifact) -> float:
    """Return the validation accuracy of the student that a finished training exports, in [0, 1].

    ``train`` is an artifact whose validation accuracy was measured (``accuracy_every_stages``).
    """
    if train.manifest()["config"]["student"]["exported_student"] == "best":
        return float(train.manifest()["best"]["validation_accuracy"])
    return float(train.read_json("history")[-1]["validation_accuracy"])


def _answers(evaluation: Artifact, questions: QuestionSet) -> dict[str, Any]:
    """Return the fields of `TrialOutcome` about the single answers."""
    rows = Prediction.from_table(evaluation.read("predictions"))
    by_id = {row.question_id: row for row in rows}
    answers = [by_id[question_id] for question_id in questions.ids]
    extra = tuple(extra_steps(row) for row in answers)
    is_known = any(value is not None for value in extra)
    early = "".join("-" if (it := stops_early(row)) is None else "01"[it] for row in answers)
    return {
        "correct": "".join("01"[row.is_correct] for row in answers),
        "extra_steps": extra if is_known else (),
        "early_stops": early if is_known else "",
    }


def _also(evaluation: Artifact | None) -> dict[str, tuple[int, int]]:
    """Return `TrialOutcome.also` from the evaluation on further test sets, if there is one."""
    sets = evaluation.manifest()["sets"] if evaluation else {}
    counts = {name: scores["counts"] for name, scores in sets.items()}
    return {name: (count["correct"], count["questions"]) for name, count in counts.items()}


def _num_steps(question: Question, config: RunConfig) -> int:
    """Return the number of steps of a question's reference rationale, or of the question without one."""
    split_newlines = config.steps.split_newlines
    of_rationale = num_reasoning_steps(question.reference_rationale, split_newlines)
    return of_rationale or len(split_steps(question.question, split_newlines=split_newlines))


def _curve(trained: Artifact) -> tuple[StagePoint, ...]:
    """Return the means of each stage of a finished training."""
    history = trained.read_json("history")
    decisions = trained.read_json("decisions")
    points = []
    tokens = 0
    train_steps = 0
    for stage in sorted({int(row["stage"]) for row in history}):
        rows = [row for row in history if row["stage"] == stage]
        tokens += int(sum(row["loss_tokens"] for row in rows))
        train_steps += len(rows)
        # the given steps come from the plan that the stage used: a replanned training has several plans
        decision = decisions[str(stage)]
        schedule = decided_schedule(trained.store, decision["plan"])
        given = given_steps(schedule, decision["plan_stage"])
        points.append(
            StagePoint(
                stage=stage,
                rationale_loss=_mean([row["rationale_loss"] for row in rows]),
                answer_loss=_mean([row["answer_loss"] for row in rows]),
                loss_tokens=tokens,
                given_steps_mean=_mean(list(given.values())),
                accuracy=rows[-1].get("validation_accuracy"),
                share=round(train_steps / len(history), _DIGITS),
            )
        )
    return tuple(points)


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), _DIGITS)
