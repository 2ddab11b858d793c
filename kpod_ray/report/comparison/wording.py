"""The conclusions that the statistics of a comparison allow, as sentences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from kpod_ray.evaluation.statistics import NUM_DRAWS, PairedDifference
from kpod_ray.report.comparison.data import ComparisonResults
from kpod_ray.report.comparison.statistics import TARGET_EFFECT, Contrast, Findings
from kpod_ray.report.formatting import NO_BREAK_SPACE, number, percent, signed_points
from kpod_ray.report.html import Tile

CONFIDENCE = f"95{NO_BREAK_SPACE}%"
POWER = f"80{NO_BREAK_SPACE}%"
_BEST_NOTE = (
    "Best: the arm with the highest accuracy. The largest of several differences is more likely to be "
    "too large than too small."
)
_RATE_NOTE = (
    "Learning rate: chosen for each arm by validation accuracy, once for all seeds. That another choice "
    "would move an arm isn't in the intervals."
)


def range_text(low: float, high: float) -> str:
    """Return an interval of differences of fractions in percentage points, such as ``+1.0 to +5.2``."""
    return f"{signed_points(low)} to {signed_points(high)}"


def interval_text(difference: PairedDifference) -> str:
    """Return the 95 % interval of a difference, see `range_text`.

    The text is empty without any variance, as between equal answers: an interval of no length would look
    exact.
    """
    return range_text(difference.low, difference.high) if difference.standard_error else ""


def verdict_text(contrast: Contrast) -> str:
    """Return the verdict on an arm in words.

    ``better`` and ``worse`` are returned as they are. For an undecided verdict, the text says that arm
    and baseline have exactly the same correct answers, or else names `Contrast.effect_among` in
    percentage points.
    """
    if contrast.verdict != "undecided":
        return contrast.verdict
    if contrast.discordance.num_better == contrast.discordance.num_worse == 0:
        return "no difference: the same answers are right"
    seen = number(100 * contrast.effect_among, 1)
    return f"not proven (the test could have seen {seen} points)"


def sensitivity(results: ComparisonResults, findings: Findings) -> str:
    """Return one text: the smallest difference that the test finds with a power of 80 %.

    The text names the median of `Contrast.effect_alone` over the contrasts and, if there are several,
    that of `Contrast.effect_among`, in percentage points; with several seeds, also the median of
    `Contrast.seeds_needed`. Without a contrast, the text says that nothing was compared. ``findings``
    holds the `statistics.findings` of the results.
    """
    contrasts = list(findings.contrasts.values())
    if not contrasts:
        return "Nothing was compared."
    alone = _middle([contrast.effect_alone for contrast in contrasts])
    line = (
        f"With {len(results.seeds)} {_unit(results.seeds, 'seed')} and "
        f"{results.num_questions:,} questions the test finds, with a chance of {POWER}, "
        f"a difference of {alone} points"
    )
    needed = f" {_needed(results, contrasts)}" if len(results.seeds) > 1 else ""
    if len(contrasts) == 1:
        return f"{line}.{needed}"
    among = _middle([contrast.effect_among for contrast in contrasts])
    return (
        f"{line} taken alone, and of {among} points among {len(contrasts)} comparisons. These are "
        f"medians over the arms; each arm's own is with its verdict.{needed}"
    )


def _needed(results: ComparisonResults, contrasts: Sequence[Contrast]) -> str:
    """Return a sentence: how many seeds would find `TARGET_EFFECT` in the median contrast."""
    numbers = sorted(one.seeds_needed or math.inf for one in contrasts)
    middle = numbers[len(numbers) // 2]
    points = number(100 * TARGET_EFFECT, 0)
    if math.isinf(middle):
        return (
            f"No number of seeds finds {points} points with {results.num_questions:,} questions in "
            "half of the comparisons: more test questions are needed."
        )
    return f"A difference of {points} points would need {middle:,} seeds."


def notes(results: ComparisonResults) -> list[str]:
    """Return texts that explain how each number is computed and which variance it leaves out.

    The names of arms aren't escaped.
    """
    over_seeds = (
        f"Accuracy: mean over the seeds and its {CONFIDENCE} t-interval. It shows the luck of the "
        "seeds on these questions; other questions would move all arms together. An arm with one "
        "seed has Wilson's interval over the questions instead."
    )
    one_seed = (
        f"Accuracy: of one seed, with Wilson's {CONFIDENCE} interval over the questions. How far "
        "another seed would move it isn't known, and neither the differences nor their p-values "
        "hold it."
    )
    return [
        over_seeds if len(results.seeds) > 1 else one_seed,
        *([_BEST_NOTE] if len(results.arms) > 2 else []),
        _test_note(results),
        "p (Holm): corrected for all comparisons on this page. The verdict goes by it, at "
        f"5{NO_BREAK_SPACE}%.",
        *([_RATE_NOTE] if any(arm.tried_rates for arm in results.arms) else []),
        *_cost_notes(results),
        "McNemar: exact test on the answers that only one of the two has right, pooled over the "
        "seeds. Pooling takes the answers of several seeds to one question for independent, which "
        "they aren't, and leaves out the luck of the seeds: its p is too small.",
    ]


def _test_note(results: ComparisonResults) -> str:
    """Return a text that explains the main test, and what its intervals hold for."""
    if results.resample == "order":
        return (
            f"Difference, its {CONFIDENCE} interval and p: paired bootstrap over questions and seeds, "
            f"{NUM_DRAWS:,} draws, each arm against {results.baseline} with the same seeds unless said "
            "otherwise. This is the main test. All seeds share the training questions and the token "
            "weights: how far others would move the difference isn't in its interval."
        )
    drawn = "training questions"
    if results.resample == "all":
        drawn += ", teacher's samples, token weighter and plan"
    return (
        f"Difference, its {CONFIDENCE} interval and p: t-test with the variance of seeds and test "
        "questions as crossed samples, with Satterthwaite's degrees of freedom, each arm against "
        f"{results.baseline} with the same seeds unless said otherwise. This is the main test. Each "
        f"seed has its own {drawn}, whose variance the interval holds."
    )


def _cost_notes(results: ComparisonResults) -> list[str]:
    """Return texts that explain the total cost and, with a longer baseline, the equal cost."""
    total = (
        "Total cost: the training, and the learned token weighter and the assessment where the arm "
        "uses them; a token counts once for each reading by a model in training or assessment. "
        "Teacher and evaluation don't count. What several arms or seeds share counts fully for each."
    )
    if results.longer_baseline is None:
        return [total]
    return [
        total,
        "Equal cost: the baseline was also trained until it had cost as many tokens as the most "
        "expensive arm. Its accuracy at the cost of another arm is a straight line between its two "
        "trainings. The difference has an interval and no p-value: it is no preregistered comparison.",
    ]


def accuracy_text(share: float, low: float, high: float) -> tuple[str, str]:
    """Return the texts of an accuracy and of its interval, in per cent, from fractions in [0, 1].

    The first text, such as ``65.6 %``, has the unit; the second, such as ``61.0 to 70.2``, has none.
    """
    return percent(share), f"{number(100 * low, 1)} to {number(100 * high, 1)}"


def smallest_effect_tile(findings: Findings) -> Tile:
    """Return the tile of the smallest difference that the test finds with a power of 80 %.

    The tile shows the median of `Contrast.effect_among` over the arms beside the baseline, in percentage
    points.

    Raises:
        statistics.StatisticsError: There is no arm beside the baseline.
    """
    middle = _middle([contrast.effect_among for contrast in findings.contrasts.values()])
    return Tile("Effect it could see", f"{middle} points", f"with a chance of {POWER}")


def _middle(effects: Sequence[float]) -> str:
    """Return the median of differences, in percentage points."""
    return number(100 * statistics.median(effects), 1)


def _unit(counted: Sequence[object], unit: str) -> str:
    return unit if len(counted) == 1 else f"{unit}s"
