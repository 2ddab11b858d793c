"""Statistics of a comparison: accuracies with intervals, and each arm's test against the baseline.

An arm is called better or worse than the baseline if its p-value is below 5 %. The p-value is that of
the paired bootstrap, corrected by Holm's method for the number of arms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

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
from kpod_ray.report.comparison.data import ArmResults, ComparisonResults

Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True, slots=True)
class Contrast:
    """The test of one arm against the baseline.

    A difference is the arm's accuracy minus the baseline's, as a fraction in [-1, 1].
    """

    difference: PairedDifference
    """Difference of the accuracies by the paired bootstrap, with its interval and its p-value before
    Holm's correction."""
    adjusted_p: float
    """p-value of the difference, corrected by Holm's method for all arms but the baseline."""
    discordance: Discordance
    """McNemar's test on the answers of all seeds together; the verdict doesn't use it."""
    effect_alone: float
    """Smallest true difference, as a fraction, that a two-sided test at the level 0.05 finds with a
    power of 80 %, see `smallest_effect`."""
    effect_among: float
    """As ``effect_alone``, but at the strictest level of Holm's correction: 0.05 / m with m arms beside
    the baseline."""

    @property
    def verdict(self) -> Verdict:
        """The conclusion: ``undecided`` if ``adjusted_p`` is at least `LEVEL`.

        Otherwise ``better`` if the difference is positive, and ``worse`` if not.
        """
        if self.adjusted_p >= LEVEL:
            return "undecided"
        return "better" if self.difference.value > 0 else "worse"


@dataclass(frozen=True, slots=True)
class Findings:
    """The statistics of a comparison."""

    accuracies: tuple[Estimate, ...]
    """Accuracy of each arm, in the order of the results. The 95 % interval is a t-interval over the
    seeds, or, for an arm with one seed, Wilson's interval over the questions."""
    contrasts: Mapping[str, Contrast]
    """Name of each arm but the baseline -> its test against the baseline; in the order of the arms."""


@dataclass(frozen=True, slots=True)
class StepGroup:
    """Accuracies on the questions that have the same number of reasoning steps."""

    num_steps: int
    num_questions: int
    accuracies: tuple[float, ...]
    """Fraction of correct answers of each arm, the baseline included, in the order of the results; over
    the group's questions and all seeds of the arm."""


def findings(results: ComparisonResults) -> Findings:
    """Compute the accuracy of each arm, and the test of each arm against the baseline.

    In a test, the one row of answers of an arm or a baseline with one seed is repeated for all seeds.
    The result is deterministic. Without an arm beside the baseline, there are no contrasts.
    """
    others = [arm for arm in results.arms if arm.name != results.baseline]
    baseline = _for_all_seeds(results.baseline_arm, results)
    answers = [_for_all_seeds(arm, results) for arm in others]
    differences = [paired_bootstrap(correct, baseline, BOOTSTRAP_SEED) for correct in answers]
    adjusted = holm([difference.p_value for difference in differences])
    contrasts = {
        arm.name: Contrast(
            difference,
            adjusted_p,
            mcnemar(correct, baseline),
            smallest_effect(difference.standard_error, results.num_questions, 1),
            smallest_effect(difference.standard_error, results.num_questions, len(others)),
        )
        for arm, correct, difference, adjusted_p in zip(
            others, answers, differences, adjusted, strict=True
        )
    }
    return Findings(tuple(_accuracy(arm) for arm in results.arms), contrasts)


def step_groups(results: ComparisonResults) -> list[StepGroup]:
    """Compute the accuracy of every arm by number of reasoning steps, fewest steps first.

    There is one group for each different number in ``results.num_steps_of_question``.
    """
    num_steps = np.array(results.num_steps_of_question)
    groups = []
    for steps in np.unique(num_steps):
        inside = num_steps == steps
        accuracies = tuple(float(arm.correct[:, inside].mean()) for arm in results.arms)
        groups.append(StepGroup(int(steps), int(inside.sum()), accuracies))
    return groups


def _accuracy(arm: ArmResults) -> Estimate:
    """Return the accuracy of an arm with its 95 % interval, see `Findings.accuracies`."""
    if arm.num_seeds > 1:
        return interval_over_seeds(arm.correct)
    low, high = wilson_interval(int(arm.correct.sum()), arm.correct.size)
    return Estimate(float(arm.correct.mean()), low, high)


def _for_all_seeds(arm: ArmResults, results: ComparisonResults) -> Answers:
    """Return an arm's answers, [num_seeds, num_questions]; a deterministic arm's row is repeated."""
    repeats = len(results.seeds) // arm.num_seeds
    return np.repeat(arm.correct, repeats, axis=0)
