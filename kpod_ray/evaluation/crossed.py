"""The test of a paired difference whose seeds and test questions are both samples.

In a comparison that draws new training questions with each seed, a seed stands for everything that is
drawn with it: training questions, token weighter, plan and training. Every seed answers the same test
questions, so seeds and questions are crossed random factors of the differences d, [S, Q]:

    d[s, q] = mean + seed effect[s] + question effect[q] + rest[s, q]

The variance of the mean of d is estimated by analysis of variance (Clark 1973), and its degrees of
freedom by Satterthwaite's formula. A t-interval over the S seed means alone would take the test
questions for the only ones there are, and one over the Q question means alone the seeds. Simulated
without a true difference (``python -m benchmarks.paired_tests``: 3 to 12 seeds, 400 questions), this
test rejects 2 to 6 % at the level 5 %; the t-test over the seed means up to 24 %, where the methods are
good at different questions; the paired bootstrap up to 8 %, and four times too often at the small levels
of Holm's correction.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from kpod_ray.evaluation.statistics import Floats, PairedDifference, smallest_effect

MAX_SEEDS = 10_000
"""Largest number of seeds that `seeds_for_effect` tries."""


@dataclass(frozen=True, slots=True)
class MeanSquares:
    """The mean squares of a two-way analysis of variance with one observation per cell.

    A mean square without degrees of freedom is 0.
    """

    seeds: float
    questions: float
    rest: float
    num_seeds: int
    num_questions: int

    def variance(self, num_seeds: int | None = None) -> float:
        """Return the estimated variance of the mean of d, or of that of another number of seeds.

        The estimate is the sum of the mean squares of seeds and questions minus that of the rest,
        divided by S Q. The effects of the seeds, and those of the questions, are taken to have at least
        the variance 0: an estimate below 0 is noise.
        """
        of_questions = max(0.0, self.questions - self.rest) / self.num_seeds
        of_seeds = max(self.seeds, self.rest) / (num_seeds or self.num_seeds)
        return (of_questions + of_seeds) / self.num_questions

    def degrees(self) -> float:
        """Return Satterthwaite's degrees of freedom of `variance`, at least 1."""
        seeds, questions = self.num_seeds - 1, self.num_questions - 1
        parts = (
            (self.seeds, seeds),
            (self.questions, questions),
            (self.rest, seeds * questions),
        )
        spread = sum(square**2 / freedom for square, freedom in parts if freedom)
        total = self.variance() * self.num_seeds * self.num_questions
        return max(1.0, total**2 / spread) if spread else 1.0


def mean_squares(differences: Floats) -> MeanSquares:
    """Return the mean squares of differences d, [S, Q].

    Raises:
        ValueError: d isn't two-dimensional, or empty.
    """
    if differences.ndim != 2 or differences.size == 0:
        raise ValueError(f"differences of shape {differences.shape} are no table")
    num_seeds, num_questions = differences.shape
    centred = differences - differences.mean()
    of_seeds = centred.mean(axis=1)
    of_questions = centred.mean(axis=0)
    rest = centred - of_seeds[:, None] - of_questions
    return MeanSquares(
        seeds=num_questions * float(np.square(of_seeds).sum()) / max(1, num_seeds - 1),
        questions=num_seeds * float(np.square(of_questions).sum()) / max(1, num_questions - 1),
        rest=float(np.square(rest).sum()) / max(1, (num_seeds - 1) * (num_questions - 1)),
        num_seeds=num_seeds,
        num_questions=num_questions,
    )


def crossed_test(differences: Floats) -> PairedDifference:
    """Return the mean of differences d, [S, Q], with its interval and p-value over seeds and questions.

    ``differences`` holds, for each seed and test question, the correctness of the method minus that of
    the baseline: a number in [-1, 1]. With one seed or one question, only the other factor counts.

    Returns:
        The mean, its 95 % interval and its two-sided p-value by `MeanSquares.variance` and
        `MeanSquares.degrees`. Without any variance, the interval has no length, and the p-value is 1 for
        a mean of 0, else 0.

    Raises:
        ValueError: As in `mean_squares`.
    """
    squares = mean_squares(differences)
    mean = float(differences.mean())
    error = math.sqrt(squares.variance())
    if error < 1e-12:  # equal differences; the rest is rounding
        return PairedDifference(mean, mean, mean, float(abs(mean) < 1e-12), 0.0)
    degrees = squares.degrees()
    half = float(stats.t.ppf(0.975, degrees)) * error
    p_value = 2 * float(stats.t.sf(abs(mean) / error, degrees))
    return PairedDifference(mean, mean - half, mean + half, p_value, error, degrees)


def seeds_for_effect(squares: MeanSquares, effect: float, num_comparisons: int) -> int | None:
    """Return with how many seeds a test finds a true difference with a power of 80 %.

    The test is two-sided at the level 0.05 / m, on the same test questions, and has one degree of
    freedom less than seeds. The variances of questions, seeds and rest are those of ``squares``.

    Args:
        squares: mean squares of the differences so far.
        effect: true difference, as a fraction.
        num_comparisons: m, at least 1.

    Returns:
        The smallest number of seeds, at least 2; None if `MAX_SEEDS` don't suffice: the variance of the
        questions remains with any number of seeds.
    """

    def finds(num_seeds: int) -> bool:
        """Return whether a test with this number of seeds finds the effect with a power of 80 %."""
        error = math.sqrt(squares.variance(num_seeds))
        size = squares.num_questions, num_comparisons, num_seeds - 1
        return smallest_effect(error, *size) <= effect

    if not finds(MAX_SEEDS):
        return None
    return bisect.bisect_left(range(2, MAX_SEEDS + 1), True, key=finds) + 2
