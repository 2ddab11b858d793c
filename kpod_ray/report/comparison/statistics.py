"""What the answers of a comparison show: the statistics of each arm, and whether it is better.

An arm is called better or worse than the baseline when its p-value, from the paired bootstrap and
corrected by Holm over all arms, is below 5 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

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

LEVEL = 0.05
"""A corrected p-value below it is a finding."""
BOOTSTRAP_SEED = 0
"""Every arm sees the same draws, so that a report can be made again."""
Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True, slots=True)
class Contrast:
    """One arm against the baseline; differences are shares in [-1, 1]."""

    difference: PairedDifference
    adjusted_p: float
    """By Holm over all arms."""
    discordance: Discordance
    """McNemar's test on the answers of all seeds together."""
    effect_alone: float
    """Difference seen with a chance of 80 %, were this the only comparison."""
    effect_among: float
    """Difference seen with a chance of 80 % at the strictest level of Holm's correction."""

    @property
    def verdict(self) -> Verdict:
        """Whether the arm is better, worse, or can't be told from the baseline."""
        if self.adjusted_p >= LEVEL:
            return "undecided"
        return "better" if self.difference.value > 0 else "worse"


@dataclass(frozen=True, slots=True)
class Findings:
    """The statistics of a comparison; arms in the order of the results."""

    accuracies: tuple[Estimate, ...]
    """Over the seeds by a t-interval; of an arm with one seed over the questions, by Wilson's."""
    contrasts: Mapping[str, Contrast]
    """Arm -> its difference to the baseline; without the baseline."""


@dataclass(frozen=True, slots=True)
class StepGroup:
    """The questions with one number of reasoning steps."""

    num_steps: int
    num_questions: int
    accuracies: tuple[float, ...]
    """Mean over the seeds, for each arm in the order of the results."""


def findings(results: ComparisonResults) -> Findings:
    """Return the statistics of all arms."""
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
            smallest_effect(difference.standard_error, 1),
            smallest_effect(difference.standard_error, len(others)),
        )
        for arm, correct, difference, adjusted_p in zip(
            others, answers, differences, adjusted, strict=True
        )
    }
    return Findings(tuple(_accuracy(arm) for arm in results.arms), contrasts)


def step_groups(results: ComparisonResults) -> list[StepGroup]:
    """Return the accuracy of every arm by number of reasoning steps, fewest steps first."""
    num_steps = np.array(results.num_steps_of_question)
    groups = []
    for steps in np.unique(num_steps):
        inside = num_steps == steps
        accuracies = tuple(float(arm.correct[:, inside].mean()) for arm in results.arms)
        groups.append(StepGroup(int(steps), int(inside.sum()), accuracies))
    return groups


def _accuracy(arm: ArmResults) -> Estimate:
    if arm.num_seeds > 1:
        return interval_over_seeds(arm.correct)
    low, high = wilson_interval(int(arm.correct.sum()), arm.correct.size)
    return Estimate(float(arm.correct.mean()), low, high)


def _for_all_seeds(arm: ArmResults, results: ComparisonResults) -> Answers:
    """Return the answers with as many rows as seeds: those of a deterministic arm are repeated."""
    repeats = len(results.seeds) // arm.num_seeds
    return np.repeat(arm.correct, repeats, axis=0)
