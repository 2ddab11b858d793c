"""Statistics of a comparison: accuracies with intervals, tests of the contrasts, and equal cost.

An arm is called better or worse than another if the p-value of their contrast is below 5 %, corrected by
Holm's method for the number of contrasts. The test is the paired bootstrap where all seeds share the
training questions, and `crossed_test` where each seed draws its own: a seed then stands for training
questions and weighter, too, and few seeds have to bear the small levels of Holm's correction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kpod_ray.evaluation.crossed import crossed_test, seeds_for_effect
from kpod_ray.evaluation.paired import BOOTSTRAP_SEED, LEVEL
from kpod_ray.evaluation.scoring import wilson_interval
from kpod_ray.evaluation.statistics import (
    Answers,
    Discordance,
    Estimate,
    PairedDifference,
    holm,
    interval_over_seeds,
    mcnemar,
    paired_bootstrap,
    smallest_effect,
)
from kpod_ray.evaluation.variance import Floats, mean_squares
from kpod_ray.report.comparison.data import ArmResults, ComparisonResults

Verdict = Literal["better", "worse", "undecided"]
NEAR = 0.125
"""Largest distance of a measurement from a share of the training at which it still counts there."""
TARGET_EFFECT = 0.03
"""Difference, as a fraction, for which the page says how many seeds would be needed."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """The test of one arm against another.

    A difference is the arm's accuracy minus the other's, as a fraction in [-1, 1].
    """

    arm: str
    other: str
    """Name of the arm that ``arm`` is compared with."""
    difference: PairedDifference
    """Difference of the accuracies, with its interval and its p-value before Holm's correction."""
    adjusted_p: float
    """p-value of the difference, corrected by Holm's method for all contrasts."""
    discordance: Discordance
    """McNemar's test on the answers of all seeds together; the verdict doesn't use it."""
    effect_alone: float
    """Smallest true difference, as a fraction, that a two-sided test at the level 0.05 finds with a
    power of 80 %, see `smallest_effect`."""
    effect_among: float
    """As ``effect_alone``, but at the strictest level of Holm's correction: 0.05 / m, m contrasts."""
    seeds_needed: int | None
    """Number of seeds with which the test would find `TARGET_EFFECT` at the strictest level, with a
    power of 80 %; None if no number of seeds suffices on these test questions."""

    @property
    def verdict(self) -> Verdict:
        """The conclusion: ``undecided`` if ``adjusted_p`` is at least `LEVEL`.

        Otherwise ``better`` if the difference is positive, and ``worse`` if not.
        """
        if self.adjusted_p >= LEVEL:
            return "undecided"
        return "better" if self.difference.value > 0 else "worse"


@dataclass(frozen=True, slots=True)
class EqualCost:
    """The accuracy that the baseline reaches at the cost of one arm."""

    tokens: float
    """Mean cost of the arm in tokens, over the seeds."""
    seconds: float
    """Mean cost of the arm in seconds, over the seeds."""
    baseline_accuracy: float | None
    """Accuracy of the baseline at ``tokens``, interpolated linearly between the baseline and the longer
    baseline; None without a longer baseline, or if the arm costs less than the baseline."""
    difference: PairedDifference | None
    """Accuracy of the arm minus ``baseline_accuracy``, by `crossed_test`; not a contrast."""


@dataclass(frozen=True, slots=True)
class Findings:
    """The statistics of a comparison."""

    accuracies: tuple[Estimate, ...]
    """Accuracy of each arm, in the order of the results. The 95 % interval is a t-interval over the
    seeds, or, for an arm with one seed, Wilson's interval over the questions."""
    contrasts: Mapping[str, Contrast]
    """Label of each contrast -> its test, in the order of the results. The label is the name of the arm,
    with `` - OTHER`` after it if the other arm isn't the baseline."""
    to_baseline: Mapping[str, PairedDifference]
    """Name of each arm but the baseline -> its accuracy minus the baseline's, in the order of the arms;
    also of arms that no contrast compares with the baseline, whose p-values are no tests."""
    costs: Mapping[str, EqualCost]
    """Name of each trained arm -> what the baseline reaches at its cost; in the order of the arms."""


def findings(results: ComparisonResults) -> Findings:
    """Compute the accuracy of each arm, the test of each contrast, and the accuracies at equal cost.

    In a test, the one row of answers of an arm with one seed is repeated for all seeds. The result is
    deterministic. Without contrasts, nothing is tested.
    """
    contrasts = _contrasts(results)
    baseline = for_all_seeds(results.baseline_arm, results)
    to_baseline = {
        arm.name: contrasts[arm.name].difference
        if arm.name in contrasts
        else _difference(for_all_seeds(arm, results), baseline, results)
        for arm in results.arms
        if arm.name != results.baseline
    }
    accuracies = tuple(_accuracy(arm) for arm in results.arms)
    return Findings(accuracies, contrasts, to_baseline, _costs(results))


def _contrasts(results: ComparisonResults) -> dict[str, Contrast]:
    """Return the test of each contrast, see `Findings.contrasts`."""
    pairs = [
        (for_all_seeds(results.arm(arm), results), for_all_seeds(results.arm(other), results))
        for arm, other in results.tested_pairs
    ]
    differences = [_difference(*pair, results) for pair in pairs]
    adjusted = holm([difference.p_value for difference in differences])
    contrasts = {}
    for at, (arm, other) in enumerate(results.tested_pairs):
        label = arm if other == results.baseline else f"{arm} - {other}"
        difference, num = differences[at], len(pairs)
        size = (difference.standard_error, results.num_questions)
        squares = mean_squares(_minus(*pairs[at]))
        contrasts[label] = Contrast(
            arm,
            other,
            difference,
            adjusted[at],
            mcnemar(*pairs[at]),
            smallest_effect(*size, 1, difference.degrees),
            smallest_effect(*size, num, difference.degrees),
            seeds_for_effect(squares, TARGET_EFFECT, num),
        )
    return contrasts


def _difference(correct: Answers, other: Answers, results: ComparisonResults) -> PairedDifference:
    """Return the difference of two arms by the test of the comparison."""
    if results.resample == "order":
        return paired_bootstrap(correct, other, BOOTSTRAP_SEED)
    return crossed_test(_minus(correct, other))


def _minus(correct: Answers, other: Answers) -> Floats:
    return correct.astype(np.float64) - other


def _costs(results: ComparisonResults) -> dict[str, EqualCost]:
    """Return the costs of all trained arms, see `Findings.costs`."""
    costs = {}
    for arm in results.arms:
        if arm.train_steps and arm.cost_tokens:
            tokens, seconds = float(np.mean(arm.cost_tokens)), float(np.mean(arm.cost_seconds))
            reached = _baseline_at(tokens, results)
            difference = None if reached is None else crossed_test(arm.correct - reached)
            accuracy = None if reached is None else float(reached.mean())
            costs[arm.name] = EqualCost(tokens, seconds, accuracy, difference)
    return costs


def _baseline_at(tokens: float, results: ComparisonResults) -> Floats | None:
    """Return the baseline's answers at a cost, [S, Q]; see `EqualCost.baseline_accuracy`.

    An element is between 0 and 1: the chance of a correct answer by linear interpolation.
    """
    longer, baseline = results.longer_baseline, results.baseline_arm
    if longer is None:
        return None
    low, high = float(np.mean(baseline.cost_tokens)), float(np.mean(longer.cost_tokens))
    if tokens < low:
        return None
    share = min(1.0, (tokens - low) / (high - low)) if high > low else 0.0
    return (1 - share) * baseline.correct + share * longer.correct


def accuracy_at(arm: ArmResults, share: float) -> float | None:
    """Return the mean validation accuracy of an arm over the seeds at a share of the training.

    The accuracy of a seed is that of the measured stage whose end is nearest to ``share``, in (0, 1], of
    the train steps. None if a seed has no measured stage within `NEAR` of it, or without training.
    """
    values = []
    for curve in arm.curves:
        measured = [point for point in curve if point.accuracy is not None]
        nearest = min(measured, key=lambda point: abs(point.share - share), default=None)
        if nearest is None or nearest.accuracy is None or abs(nearest.share - share) > NEAR:
            return None
        values.append(nearest.accuracy)
    return float(np.mean(values)) if values else None


def _accuracy(arm: ArmResults) -> Estimate:
    """Return the accuracy of an arm with its 95 % interval, see `Findings.accuracies`."""
    if arm.num_seeds > 1:
        return interval_over_seeds(arm.correct)
    low, high = wilson_interval(int(arm.correct.sum()), arm.correct.size)
    return Estimate(float(arm.correct.mean()), low, high)


def for_all_seeds(arm: ArmResults, results: ComparisonResults) -> Answers:
    """Return an arm's answers, [num_seeds, num_questions]; a deterministic arm's row is repeated."""
    repeats = len(results.seeds) // arm.num_seeds
    return np.repeat(arm.correct, repeats, axis=0)
