"""Accuracies by the number of reasoning steps of the question, as values and as cells of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kpod_ray.evaluation.crossed import crossed_test
from kpod_ray.evaluation.statistics import PairedDifference
from kpod_ray.report.comparison.data import ComparisonResults
from kpod_ray.report.comparison.statistics import for_all_seeds
from kpod_ray.report.formatting import number, percent, signed_points

FULL_SHADE = 0.2
"""Difference of accuracies, as a fraction, at and above which a cell has its strongest tint."""


@dataclass(frozen=True, slots=True)
class StepGroup:
    """Accuracies on the questions that have the same number of reasoning steps."""

    num_steps: int
    num_questions: int
    accuracies: tuple[float, ...]
    """Fraction of correct answers of each arm, the baseline included, in the order of the results; over
    the group's questions and all seeds of the arm."""
    differences: tuple[PairedDifference, ...]
    """Accuracy of each arm minus the baseline's on the group's questions, by `crossed_test`, in the
    order of the results; 0 for the baseline. The differences are no contrasts."""


@dataclass(frozen=True, slots=True)
class StepCell:
    """The accuracy of one arm on the questions with one number of reasoning steps."""

    accuracy: str
    """Accuracy in per cent, with the unit."""
    difference: str
    """Difference to the baseline in points with half the length of its 95 % interval, such as
    ``+4.0 ± 6.1``; empty for the baseline, and without ``±`` where no answer differs from its mean."""
    tint: str
    """``above`` or ``below`` the baseline's accuracy on the same questions; empty if equal."""
    shade: str
    """Strength of the tint in [0, 1], for CSS."""


def step_groups(results: ComparisonResults) -> list[StepGroup]:
    """Compute the accuracy of every arm by number of reasoning steps, fewest steps first.

    There is one group for each different number in ``results.num_steps_of_question``.
    """
    num_steps = np.array(results.num_steps_of_question)
    baseline = for_all_seeds(results.baseline_arm, results).astype(np.float64)
    answers = [for_all_seeds(arm, results) for arm in results.arms]
    groups = []
    for steps in np.unique(num_steps):
        inside = num_steps == steps
        accuracies = tuple(float(arm.correct[:, inside].mean()) for arm in results.arms)
        differences = tuple(crossed_test((own - baseline)[:, inside]) for own in answers)
        groups.append(StepGroup(int(steps), int(inside.sum()), accuracies, differences))
    return groups


def step_cells(results: ComparisonResults, groups: Sequence[StepGroup]) -> list[list[StepCell]]:
    """Return a row of cells for each arm, in the order of the results, with a cell for each group.

    ``groups`` holds the `step_groups` of the results. The shade of a cell is the absolute difference to
    the baseline's accuracy in the same group, divided by `FULL_SHADE` and cut to [0, 1]: one scale for
    all comparisons.
    """
    return [
        [_cell(group, at, arm.name == results.baseline) for group in groups]
        for at, arm in enumerate(results.arms)
    ]


def _cell(group: StepGroup, at: int, is_baseline: bool) -> StepCell:
    """Return the cell of the arm at index ``at`` for one group."""
    difference = group.differences[at]
    half = 100 * (difference.high - difference.low) / 2
    spread = f" \u00b1 {number(half, 1)}" if difference.standard_error else ""
    return StepCell(
        accuracy=percent(group.accuracies[at]),
        difference="" if is_baseline else f"{signed_points(difference.value)}{spread}",
        tint="above" if difference.value > 0 else "below" if difference.value < 0 else "",
        shade=f"{min(1.0, abs(difference.value) / FULL_SHADE):.3f}",
    )
