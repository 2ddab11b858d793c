"""Differences between two methods that answered the same questions with the same seeds.

Answers are bool arrays [S, Q]: one row a seed, one column a question, in the same order for every
method. A difference of accuracies has three sources of chance: which questions were asked, which
seeds were trained with, and the rest, by which one answer of one seed turns out this way or that.
The bootstrap resamples the first two, and leaves the third to the questions, so that it counts once.

Invariants: equal methods differ by 0 with p = 1; swapping two methods turns the sign of the difference
and leaves p as it is, but for the draws; the same seed gives the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

Answers = np.ndarray[Any, np.dtype[np.bool_]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
NUM_DRAWS = 10_000
"""Draws of the bootstrap."""
_CHUNK_DRAWS = 500
"""Draws that exist at the same time."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share with its 95 % interval; all in [0, 1]."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Accuracy of a method minus accuracy of its baseline; shares in [-1, 1]."""

    value: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    p_value: float
    """Two-sided, of no difference."""
    standard_error: float


@dataclass(frozen=True, slots=True)
class Discordance:
    """Answers that only one of two methods has right, and their exact McNemar test."""

    num_better: int
    """Right with the method, wrong with the baseline."""
    num_worse: int
    """Wrong with the method, right with the baseline."""
    p_value: float
    """Two-sided; takes every pair of answers for independent of the others."""


def interval_over_seeds(correct: Answers) -> Estimate:
    """Return the accuracy and its t-interval over the means of the seeds.

    It says how far the luck of the seeds moves the accuracy on these questions, nothing about others.

    Args:
        correct: [S, Q], S >= 2.

    Raises:
        ValueError: There are no questions, or fewer than two seeds.
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
    """Return the difference of two methods by a bootstrap over questions and over seeds.

    With d the differences [S, Q], one draw is the mean of Q question means of d, drawn with
    replacement, plus the mean of S seed effects, drawn with replacement. A seed effect is the
    deviation of a seed's mean, shrunk to the variance that is left of it without the noise of its
    answers (drawing rows and columns of d itself would count that noise three times), and widened
    for what so few seeds can't tell. With one seed only the questions are drawn.

    Args:
        correct: [S, Q], answers of the method.
        baseline: [S, Q], answers of the baseline; row s has the same seed as row s of ``correct``.
        seed: Of the draws.
        num_draws: Number of draws.

    Raises:
        ValueError: The shapes disagree, or there is no answer.
    """
    differences = _differences(correct, baseline)
    mean = float(differences.mean())
    generator = np.random.default_rng(seed)
    draws = _resampled_means(differences.mean(axis=0), num_draws, generator)
    draws += _resampled_means(_seed_effects(differences), num_draws, generator)
    low, high = np.quantile(draws, (0.025, 0.975))
    tail = min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0))
    p_value = min(1.0, 2 * (1 + int(tail)) / (1 + num_draws))
    return PairedDifference(mean, float(low), float(high), p_value, float(draws.std()))


def compare_paired(method: ArrayLike, baseline: ArrayLike, *, seed: int = 0) -> PairedDifference:
    """Compare the accuracies of two methods that answered the same questions.

    Each element says whether one answer was right. The interval and the p-value come from a bootstrap
    over questions and, with several seeds, over seeds: see `paired_bootstrap`.

    Args:
        method: [Q] or [S, Q], true or false (1 or 0): Q questions, S trainings with other seeds.
        baseline: of the same shape, questions and seeds in the same order.
        seed: of the bootstrap's draws.

    Returns:
        The accuracy of the method minus that of the baseline, the 95 % interval of the difference, the
        two-sided p-value of no difference, and the standard error.

    Raises:
        ValueError: The shapes disagree, there is no answer, or an element is neither true nor false.
    """
    return paired_bootstrap(_answers(method), _answers(baseline), seed)


def _answers(correct: ArrayLike) -> Answers:
    """Return answers as bool [S, Q]; those of one seed may come as [Q]."""
    values = np.asarray(correct)
    if not np.isin(values, (0, 1)).all():
        raise ValueError("answers are true or false, or 1 or 0")
    return np.atleast_2d(values.astype(np.bool_))


def mcnemar(correct: Answers, baseline: Answers) -> Discordance:
    """Return McNemar's exact test on all pairs of answers, pooled over the seeds.

    The answers of several seeds to one question are alike, so that the pooled p-value is too small;
    with one seed it is exact for these two models.

    Args:
        correct: [S, Q], answers of the method.
        baseline: [S, Q], answers of the baseline.

    Raises:
        ValueError: The shapes disagree, or there is no answer.
    """
    differences = _differences(correct, baseline)
    num_better = int(np.count_nonzero(differences > 0))
    num_worse = int(np.count_nonzero(differences < 0))
    if num_better == num_worse:
        return Discordance(num_better, num_worse, 1.0)
    test = stats.binomtest(num_better, num_better + num_worse, 0.5)
    return Discordance(num_better, num_worse, float(test.pvalue))


def smallest_effect(standard_error: float, num_comparisons: int) -> float:
    """Return the difference that a two-sided test at 5 % would find with a chance of 80 %.

    (z_{1 - 0.025/m} + z_{0.8}) x standard error: for m = 1 the level of one test, for more the
    level that the first of m tests has under Holm's correction.
    """
    level = stats.norm.ppf(1 - 0.025 / num_comparisons)
    return float((level + stats.norm.ppf(0.8)) * standard_error)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values: below 0.05 there, the chance of any false find stays at 5 %."""
    order = np.argsort(p_values, kind="stable")
    num_left = np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(num_left * np.take(p_values, order))
    return np.minimum(adjusted, 1).tolist()


def _differences(correct: Answers, baseline: Answers) -> Floats:
    """Return the difference of each pair of answers, [S, Q]: 1, 0 or -1."""
    if correct.shape != baseline.shape or correct.ndim != 2 or correct.size == 0:
        raise ValueError(f"answers of shapes {correct.shape} and {baseline.shape} make no pairs")
    return correct.astype(np.float64) - baseline.astype(np.float64)


def _seed_effects(differences: Floats) -> Floats:
    """Return deviations of the seeds, [S], scaled to the estimated variance of the seeds alone.

    Two-way analysis of variance: the variance is (MS_seeds - MS_rest) / Q, or 0 where that is less.
    It comes from S values, so it is widened as a t-interval is against a normal one.
    """
    num_seeds, num_questions = differences.shape
    if num_seeds == 1 or num_questions == 1:
        return np.zeros(num_seeds)
    centred = differences - differences.mean()
    of_seeds, of_questions = centred.mean(axis=1), centred.mean(axis=0)
    rest = centred - of_seeds[:, None] - of_questions
    ms_rest = np.square(rest).sum() / ((num_seeds - 1) * (num_questions - 1))
    ms_seeds = num_questions * np.square(of_seeds).sum() / (num_seeds - 1)
    if ms_seeds <= ms_rest:
        return np.zeros(num_seeds)
    variance = (ms_seeds - ms_rest) / num_questions
    widening = stats.t.ppf(0.975, num_seeds - 1) / stats.norm.ppf(0.975)
    return of_seeds * (widening * math.sqrt(variance / np.square(of_seeds).mean()))


def _resampled_means(values: Floats, num_draws: int, generator: np.random.Generator) -> Floats:
    """Return means of as many values drawn with replacement, [num_draws]."""
    chunks = []
    for start in range(0, num_draws, _CHUNK_DRAWS):
        size = (min(_CHUNK_DRAWS, num_draws - start), len(values))
        chunks.append(values[generator.integers(len(values), size=size)].mean(axis=1))
    return np.concatenate(chunks)
