"""Rows about the trainings of a comparison: accuracy during the training, total cost and equal cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from kpod_ray.report.comparison.data import ArmResults, ComparisonResults
from kpod_ray.report.comparison.statistics import EqualCost, Findings, accuracy_at
from kpod_ray.report.comparison.wording import interval_text
from kpod_ray.report.formatting import (
    NO_BREAK_SPACE,
    NO_VALUE,
    duration,
    number,
    percent,
    signed_points,
)

SHARES = {"quarter": 0.25, "half": 0.5, "end": 1.0}
"""Points of the training at which the validation accuracy is shown: name -> share of the train steps."""


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """The formatted values of one trained arm, not escaped; a dash where there is no value."""

    name: str
    learning_rate: str
    """Largest learning rate of the training."""
    tried_rates: str
    """Learning rates that were tried with their validation accuracies, such as ``0.001: 40.0 %``."""
    quarter: str
    """Validation accuracy after a quarter of the training, in per cent with the unit."""
    half: str
    end: str
    supervised_tokens: str
    """Tokens in the loss over the whole training."""
    seconds: str
    """Duration of the training with its unit."""
    total_tokens: str
    """Tokens of the training, and of token weighter and assessment where the arm needs them."""
    total_seconds: str
    """Duration of the same, with its unit."""
    accuracy: str
    """Accuracy on the test questions, in per cent with the unit."""
    baseline_accuracy: str
    """Accuracy of the baseline at the cost of the arm, see `EqualCost`."""
    difference: str
    """``accuracy`` minus ``baseline_accuracy``, in percentage points with its sign."""
    difference_interval: str
    """95 % interval of ``difference``; empty without one."""


def training_rows(results: ComparisonResults, found: Findings) -> list[TrainingRow]:
    """Return a row for each trained arm with known costs, in the order of the results.

    The longer baseline, if there is one, is the last row. ``found`` holds the `findings` of the results.
    """
    rows = [
        _row(arm, found.costs[arm.name], arm.name == results.baseline)
        for arm in results.arms
        if arm.name in found.costs
    ]
    longer = results.longer_baseline
    if longer is None:
        return rows
    cost = EqualCost(fmean(longer.cost_tokens), fmean(longer.cost_seconds), None, None)
    return [*rows, _row(longer, cost, is_baseline=True)]


def _row(arm: ArmResults, cost: EqualCost, is_baseline: bool) -> TrainingRow:
    points = {name: accuracy_at(arm, share) for name, share in SHARES.items()}
    shown = None if is_baseline else cost.difference
    return TrainingRow(
        name=arm.name,
        learning_rate=NO_VALUE if arm.learning_rate is None else f"{arm.learning_rate:g}",
        tried_rates=", ".join(
            f"{rate:g}:{NO_BREAK_SPACE}{percent(share)}" for rate, share in arm.tried_rates
        )
        or NO_VALUE,
        supervised_tokens=number(fmean(arm.supervised_tokens), 0),
        seconds=duration(fmean(arm.train_seconds)),
        total_tokens=number(cost.tokens, 0),
        total_seconds=duration(cost.seconds),
        accuracy=percent(float(arm.correct.mean())),
        baseline_accuracy=_share(None if is_baseline else cost.baseline_accuracy),
        difference=NO_VALUE if shown is None else signed_points(shown.value),
        difference_interval="" if shown is None else interval_text(shown),
        **{name: _share(value) for name, value in points.items()},
    )


def _share(value: float | None) -> str:
    return NO_VALUE if value is None else percent(value)


def plain_training(arm: ArmResults, cost: EqualCost | None) -> dict[str, Any]:
    """Return JSON-serialisable values about the training of an arm; None where there is no value.

    The keys are ``learning_rate``; ``validation_accuracy_`` with each name of `SHARES`; ``total_tokens``
    and ``total_seconds``; ``baseline_accuracy_at_cost`` and ``difference_at_cost`` with its ``_low`` and
    ``_high``, see `EqualCost`. ``cost`` is None for an arm without training.
    """
    difference = cost and cost.difference
    return {
        "learning_rate": arm.learning_rate,
        **{f"validation_accuracy_{name}": accuracy_at(arm, at) for name, at in SHARES.items()},
        "total_tokens": cost and cost.tokens,
        "total_seconds": cost and cost.seconds,
        "baseline_accuracy_at_cost": cost and cost.baseline_accuracy,
        "difference_at_cost": difference and difference.value,
        "difference_at_cost_low": difference and difference.low,
        "difference_at_cost_high": difference and difference.high,
    }


def are_measured(rows: Sequence[TrainingRow]) -> bool:
    """Return whether a validation accuracy or a choice of learning rates can be shown."""
    values = (v for row in rows for v in (row.quarter, row.half, row.end, row.tried_rates))
    return any(value != NO_VALUE for value in values)
