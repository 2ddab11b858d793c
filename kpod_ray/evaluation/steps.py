"""Reasoning steps of generated answers against those of the gold rationales: does a model stop early?"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.answers.final_sentence import strip_closing
from kpod_ray.records import Prediction, Question


def num_reasoning_steps(text: str, split_newlines: bool) -> int:
    """Return the number of reasoning steps of a text before its closings; 0 if there are none.

    Closings, the sentences that announce the answer, are no steps. ``split_newlines`` is whether
    newlines end reasoning steps (`split_steps`).
    """
    return len(split_steps(strip_closing(text).strip(), split_newlines=split_newlines))


def with_steps(prediction: Prediction, question: Question, split_newlines: bool) -> Prediction:
    """Return a prediction with the numbers of reasoning steps of its text and of the gold rationale.

    The gold rationale is the question's reference rationale; without one, ``num_gold_steps`` is None.
    ``num_steps`` of an error row is None. The steps are those of `num_reasoning_steps`.
    """
    is_error = prediction.finish_reason == "error"
    return dataclasses.replace(
        prediction,
        num_steps=None if is_error else num_reasoning_steps(prediction.text, split_newlines),
        num_gold_steps=num_reasoning_steps(question.reference_rationale, split_newlines) or None,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class StepStatistics:
    """How many steps a model generates, over the questions that have a gold rationale."""

    num_compared: int = 0
    """Number of answers with a gold rationale to compare with; error rows aren't counted."""
    generated_minus_gold: float | None = None
    """Mean of the generated steps minus the gold steps; None without such answers."""
    early_stops: float | None = None
    """Fraction of these answers with fewer steps than the gold rationale, in [0, 1]; None without such
    answers. A text that was cut off at the token limit didn't stop and is no early stop."""
    by_gold_steps: tuple[tuple[int, int, int], ...] = ()
    """Number of gold steps, of such questions and of correct answers to them; fewest steps first."""


def extra_steps(prediction: Prediction) -> int | None:
    """Return the generated minus the gold steps of a prediction; None if one of them is unknown."""
    if prediction.num_steps is None or prediction.num_gold_steps is None:
        return None
    return prediction.num_steps - prediction.num_gold_steps


def stops_early(prediction: Prediction) -> bool | None:
    """Return whether a prediction has fewer steps than the gold rationale; None if that is unknown.

    A text that was cut off at the token limit didn't stop.
    """
    extra = extra_steps(prediction)
    return None if extra is None else extra < 0 and prediction.finish_reason != "length"


def step_statistics(predictions: Sequence[Prediction]) -> StepStatistics:
    """Compute the step statistics of a model's predictions, which may be empty."""
    compared = [(row, extra) for row in predictions if (extra := extra_steps(row)) is not None]
    if not compared:
        return StepStatistics()
    by_gold = []
    for steps in sorted({row.num_gold_steps or 0 for row, _ in compared}):
        right = [row.is_correct for row, _ in compared if row.num_gold_steps == steps]
        by_gold.append((steps, len(right), sum(right)))
    return StepStatistics(
        num_compared=len(compared),
        generated_minus_gold=statistics.fmean(extra for _, extra in compared),
        early_stops=statistics.fmean(bool(stops_early(row)) for row, _ in compared),
        by_gold_steps=tuple(by_gold),
    )
