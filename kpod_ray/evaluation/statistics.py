"""Paired statistics of two methods that answered the same questions with the same training seeds.

Answers are bool arrays [S, Q] with one row per training seed and one column per question, in the same
order for every method. The difference of two accuracies has three sources of variance: the sample of
questions, the sample of training seeds, and the residual noise of each single answer. The bootstrap
resamples questions and seeds. The residual noise is part of the question means, and removed from the
seed effects, so that the noise is counted once.

Invariants: equal methods have a difference of 0 with p = 1. Swapping two methods changes the sign of the
difference; the p-value stays the same up to the random draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from kpod_ray.evaluation.variance import Floats, mean_squares

Answers = np.ndarray[Any, np.dtype[np.bool_]]
"""Whether each answer is correct, [S, Q]."""
NUM_DRAWS = 10_000
"""Number of draws of the bootstrap."""
_CHUNK_DRAWS = 500
"""Number of draws that are in memory at the same time."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """An accuracy with its 95 % interval; all values in [0, 1]."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The accuracy of a method minus the accuracy of its baseline, as a fraction."""

    value: float
    """The difference over all seeds and questions, in [-1, 1]."""
    low: float
    """Lower end of the 95 % interval, not cut to [-1, 1]."""
    high: float
    """Upper end of the 95 % interval, not cut to [-1, 1]."""
    p_value: float
    """Two-sided p-value of no difference, not corrected for the number of comparisons."""
    standard_error: float
    """Standard error of the difference, in the unit of ``value``."""
    degrees: float = math.inf
    """Degrees of freedom of the standard error; infinite for a bootstrap, whose draws are used as they
    are."""


@dataclass(frozen=True, slots=True)
class Discordance:
    """Numbers of answers that only one of two methods has correct, with the exact McNemar test.

    An answer is one element of [S, Q], so a question counts once for each seed.
    """

    num_better: int
    """Number of answers that are correct with the method and wrong with the baseline."""
    num_worse: int
    """Number of answers that are wrong with the method and correct with the baseline."""
    p_value: float
    """Two-sided p-value for independent pairs of answers, not corrected for multiple comparisons."""


def interval_over_seeds(correct: Answers) -> Estimate:
    """Return the mean accuracy with the 95 % t-interval over the accuracies of the seeds, cut to [0, 1].

    The interval covers the variance between training seeds on these questions, not the variance between
    samples of questions.

    Args:
        correct: whether each answer is correct, bool [S, Q] with S >= 2: a row per seed.

    Raises:
        ValueError: There are no questions or fewer than two seeds, or the array isn't two-dimensional.
    """
    num_seeds, num_questions = correct.shape
    if num_seeds < 2 or num_questions == 0:
        raise ValueError(f"no interval over {num_seeds} seeds and {num_questions} questions")
    means = correct.mean(axis=1)
    spread = stats.t.ppf(0.975, num_seeds - 1) * means.std(ddof=1) / math.sqrt(num_seeds)
    mean = float(means.mean())
    return Estimate(mean, max(0.0, float(mean - spread)), min(1.0, float(mean + spread)))


def paired_bootstrap(
    correct: Answers, baseline: Answers, seed: int, num_draws: int = NUM_DRAWS
) -> PairedDifference:
    """Return the difference of two methods, by a bootstrap over questions and over seeds.

    Let d be the differences of the answers, [S, Q]. One draw is the mean of Q question means of d, drawn
    with replacement, plus the mean of S seed effects, drawn with replacement. A seed effect is the
    deviation of a seed's mean from the overall mean, shrunk to the variance that remains without the
    residual noise of the answers, and widened because few seeds estimate a variance badly. Drawing rows
    and columns of d itself would count the residual noise three times. All seed effects are 0 with one
    seed or one question, or if the residual noise explains the variance of the seeds' means.

    Args:
        correct: whether each answer of the method is correct, bool [S, Q].
        baseline: the same for the baseline; each row has the same training seed and each column the same
            question as in ``correct``.
        seed: seed of the bootstrap's draws.
        num_draws: number of draws, at least 1.

    Returns:
        The mean of d as the difference; the 2.5 % and 97.5 % quantiles and the standard deviation of the
        draws as interval and standard error; and as p-value twice the smaller fraction of draws that are
        at most 0 or at least 0, in [2 / (num_draws + 1), 1].

    Raises:
        ValueError: The shapes differ, an array isn't two-dimensional, or there are no answers.
    """
    differences = _differences(correct, baseline)
    mean = float(differences.mean())
    generator = np.random.default_rng(seed)
    draws = _resampled_means(differences.mean(axis=0), num_draws, generator)
    draws += _resampled_means(_seed_effects(differences), num_draws, generator)
    low, high = np.quantile(draws, (0.025, 0.975))
    tail = min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0))
    # One is added to both counts, so that a finite number of draws never gives p = 0.
    p_value = min(1.0, 2 * (1 + int(tail)) / (1 + num_draws))
    return PairedDifference(mean, float(low), float(high), p_value, float(draws.std()))


def compare_paired(method: ArrayLike, baseline: ArrayLike, *, seed: int = 0) -> PairedDifference:
    """Compare the accuracies of two methods that answered the same questions (`paired_bootstrap`).

    Args:
        method: whether each answer of the method is correct, as bool or 0 and 1; [Q] for one training,
            or [S, Q] for S trainings with different seeds.
        baseline: the same for the baseline, with the same shape, seeds and questions.
        seed: seed of the bootstrap's `NUM_DRAWS` draws; equal seeds give equal results.

    Returns:
        The accuracy of the method minus the accuracy of the baseline, as fractions, with the 95 %
        interval, the two-sided p-value of no difference, and the standard error.

    Raises:
        ValueError: The shapes differ or have more than two dimensions, there are no answers, or an
            element is not 0, 1 or a bool.
    """
    return paired_bootstrap(_answers(method), _answers(baseline), seed)


def _answers(correct: ArrayLike) -> Answers:
    """Return answers of shape [Q] or [S, Q] as a bool array [S, Q].

    Raises:
        ValueError: An element is not 0, 1 or a bool.
    """
    values = np.asarray(correct)
    if not np.isin(values, (0, 1)).all():
        raise ValueError("answers are true or false, or 1 or 0")
    return np.atleast_2d(values.astype(np.bool_))


def mcnemar(correct: Answers, baseline: Answers) -> Discordance:
    """Return McNemar's exact test on all pairs of answers, pooled over the seeds.

    ``correct`` and ``baseline``, bool [S, Q], have the same seeds and questions. Answers of several
    seeds to one question are correlated, so the p-value is exact with one seed, and too small with more.
    The p-value is 1 if ``num_better`` and ``num_worse`` are equal.

    Raises:
        ValueError: The shapes differ, an array isn't two-dimensional, or there are no answers.
    """
    differences = _differences(correct, baseline)
    num_better = int(np.count_nonzero(differences > 0))
    num_worse = int(np.count_nonzero(differences < 0))
    if num_better == num_worse:
        return Discordance(num_better, num_worse, 1.0)
    test = stats.binomtest(num_better, num_better + num_worse, 0.5)
    return Discordance(num_better, num_worse, float(test.pvalue))


def smallest_effect(
    standard_error: float, num_questions: int, num_comparisons: int, degrees: float = math.inf
) -> float:
    """Return the true difference that a two-sided test at level 0.05/m detects with a power of 80 %.

    The difference is (t_{1 - 0.025/m} + t_{0.8}) x standard error, as a fraction like the standard
    error, where t_p is a quantile of the t-distribution with ``degrees`` degrees of freedom (infinitely
    many: the normal distribution) and m >= 1 is ``num_comparisons``. 0.05/m is the level of the first of
    m tests under Holm's correction. Where hardly an answer differs, the observed standard error says
    little: by the rule of three, 3 answers could differ. The standard error is therefore sqrt(3) /
    ``num_questions`` at least.
    """
    level = stats.t.ppf(1 - 0.025 / num_comparisons, degrees)
    least = math.sqrt(3) / num_questions
    return float((level + stats.t.ppf(0.8, degrees)) * max(standard_error, least))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted by Holm's method, at most 1, in the order of ``p_values``.

    If every comparison with an adjusted p-value of at most 0.05 is called significant, the probability
    of at least one false positive is at most 5 %. ``p_values``, in [0, 1] without NaN, holds those of
    all comparisons that are corrected together, and may be empty.
    """
    order = np.argsort(p_values, kind="stable")
    num_left = np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(num_left * np.take(p_values, order))
    return np.minimum(adjusted, 1).tolist()


def _differences(correct: Answers, baseline: Answers) -> Floats:
    """Return the difference of each pair of answers, 1, 0 or -1, [S, Q].

    Raises:
        ValueError: The shapes differ, or there are no answers.
    """
    if correct.shape != baseline.shape or correct.ndim != 2 or correct.size == 0:
        raise ValueError(f"answers of shapes {correct.shape} and {baseline.shape} make no pairs")
    return correct.astype(np.float64) - baseline.astype(np.float64)


def _seed_effects(differences: Floats) -> Floats:
    """Return the deviations of the seeds' means, [S], scaled to the variance of the seeds alone.

    The variance is estimated by a two-way analysis of variance without interaction:
    max(0, (MS_seeds - MS_rest) / Q). The estimate uses only S values, so the deviations are widened by
    the ratio of the t-quantile with S - 1 degrees of freedom to the normal quantile.
    """
    num_seeds, num_questions = differences.shape
    if num_seeds == 1 or num_questions == 1:
        return np.zeros(num_seeds)
    squares = mean_squares(differences)
    if squares.seeds <= squares.rest:
        return np.zeros(num_seeds)
    of_seeds = (differences - differences.mean()).mean(axis=1)
    variance = (squares.seeds - squares.rest) / num_questions
    widening = stats.t.ppf(0.975, num_seeds - 1) / stats.norm.ppf(0.975)
    return of_seeds * (widening * math.sqrt(variance / np.square(of_seeds).mean()))


def _resampled_means(values: Floats, num_draws: int, generator: np.random.Generator) -> Floats:
    """Return bootstrap means, [num_draws]; each is the mean of len(values) values with replacement."""
    chunks = []
    for start in range(0, num_draws, _CHUNK_DRAWS):
        size = (min(_CHUNK_DRAWS, num_draws - start), len(values))
        chunks.append(values[generator.integers(len(values), size=size)].mean(axis=1))
    return np.concatenate(chunks)
