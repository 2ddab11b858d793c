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

from scipy import stats

from kpod_ray.evaluation.statistics import PairedDifference, smallest_effect
from kpod_ray.evaluation.variance import Floats, MeanSquares, mean_squares

MAX_SEEDS = 10_000
"""Largest number of seeds that `seeds_for_effect` tries."""


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
