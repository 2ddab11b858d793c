"""Convert the accuracies of a run to rows of formatted texts, which the template escapes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kpod_ray.evaluation.scoring import wilson_interval
from kpod_ray.report.formatting import (
    NO_BREAK_SPACE,
    NO_VALUE,
    number,
    percent,
    points,
    signed,
    signed_points,
)
from kpod_ray.report.paired_words import interval_in_points
from kpod_ray.report.run.data import RunResults
from kpod_ray.report.run.wording import difference_in_words


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """The accuracy of one model, and its difference to the first model, as formatted texts."""

    label: str
    num_correct: str
    num_questions: str
    accuracy: str
    """Accuracy in per cent, with the unit; a dash without questions."""
    interval: str
    """95 % interval of the accuracy, both ends with the unit; a dash without questions."""
    difference: str
    """Accuracy minus the first model's on the questions that both answered, in percentage points, with
    the unit; a dash for the first model, and if no question was answered by both."""
    difference_interval: str
    """95 % interval of ``difference``, in percentage points without the unit; empty without one."""
    words: str
    """See `difference_in_words`; empty for the first model."""
    generated_minus_gold: str
    """Mean of the generated minus the gold reasoning steps, with its sign; a dash if unknown."""
    early_stops: str
    """Answers with fewer steps than the gold rationale, in per cent with the unit; a dash if unknown."""


@dataclass(frozen=True, slots=True)
class FurtherSetRow:
    """The accuracies on one further test set, as formatted texts."""

    name: str
    num_questions: str
    num_left_out: str
    before: str
    """Accuracy of the untouched student in per cent, with the unit."""
    after: str
    """Accuracy of the distilled student in per cent, with the unit."""
    interval: str
    """95 % interval of the distilled student's accuracy, both ends with the unit."""
    difference: str
    """Difference of the two on the questions of both, in percentage points without the unit; a dash if
    there are none."""
    difference_interval: str
    """95 % interval of ``difference``; empty without one."""
    words: str
    """See `difference_in_words`."""


def accuracy_rows(results: RunResults) -> list[AccuracyRow]:
    """Return a row for each of ``results.accuracies``, in order; each is compared with the first."""
    rows = []
    for accuracy in results.accuracies:
        test = accuracy.against_first
        is_first = accuracy is results.accuracies[0]
        has_questions = accuracy.num_questions > 0
        interval = f"{percent(accuracy.low)} to {percent(accuracy.high)}"
        rows.append(
            AccuracyRow(
                accuracy.label,
                f"{accuracy.num_correct:,}",
                f"{accuracy.num_questions:,}",
                percent(accuracy.share),
                interval if has_questions else NO_VALUE,
                points(test.difference.value) if test else NO_VALUE,
                interval_in_points(test) if test else "",
                "" if is_first else difference_in_words(accuracy),
                signed(_or_nan(accuracy.steps.generated_minus_gold), 2),
                percent(_or_nan(accuracy.steps.early_stops)),
            )
        )
    return rows


def further_set_rows(results: RunResults) -> list[FurtherSetRow]:
    """Return a row for each further test set, in the order of the results."""
    rows = []
    for row in results.further_sets:
        test = row.after.against_first
        rows.append(
            FurtherSetRow(
                row.name,
                f"{row.after.num_questions:,}",
                f"{row.num_left_out:,}",
                percent(row.before.share),
                percent(row.after.share),
                f"{percent(row.after.low)} to {percent(row.after.high)}",
                signed_points(test.difference.value) if test else NO_VALUE,
                interval_in_points(test) if test else "",
                difference_in_words(row.after),
            )
        )
    return rows


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def gold_step_rows(results: RunResults) -> list[list[str]]:
    """Return a row for each number of gold steps: this number, the questions, each model's accuracy.

    The numbers are those of the last model's questions with a gold rationale, fewest first; a model
    without a question of a number has a dash. The accuracies are in per cent, with the unit, and each
    with its 95 % interval by Wilson, in the order of ``results.accuracies``.
    """
    if not results.accuracies:
        return []
    of_models = [
        {gold: (right, asked) for gold, asked, right in accuracy.steps.by_gold_steps}
        for accuracy in results.accuracies
    ]
    return [
        [str(gold), f"{asked:,}", *(_share_text(*counts.get(gold, (0, 0))) for counts in of_models)]
        for gold, asked, _ in results.accuracies[-1].steps.by_gold_steps
    ]


def _share_text(num_correct: int, num_questions: int) -> str:
    """Return an accuracy with its interval, such as ``20.0 % (9.5 to 37.3)``; a dash if unknown."""
    if not num_questions:
        return NO_VALUE
    low, high = (100 * end for end in wilson_interval(num_correct, num_questions))
    interval = f"({number(low, 1)} to {number(high, 1)})".replace(" ", NO_BREAK_SPACE)
    return f"{percent(num_correct / num_questions)} {interval}"
