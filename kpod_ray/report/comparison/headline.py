"""What a comparison found in one sentence, a verdict for each contrast, and reasons to be careful."""

from __future__ import annotations

from kpod_ray.evaluation.statistics import PairedDifference
from kpod_ray.report.comparison.data import ComparisonResults
from kpod_ray.report.comparison.statistics import Contrast, Findings
from kpod_ray.report.comparison.wording import CONFIDENCE, interval_text
from kpod_ray.report.formatting import NO_BREAK_SPACE, p_text, points

ENOUGH_SEEDS = 5
"""With fewer seeds, the page warns that the variance between seeds is poorly known."""
_NO_INTERVAL = "no interval: the difference is the same for every answer"
_LEVEL = f"5{NO_BREAK_SPACE}%"


def headline(results: ComparisonResults, found: Findings) -> str:
    """Return one sentence: the best arm, its difference to the baseline, and whether that is proven.

    The best arm is the one with the highest accuracy; of equal ones the baseline, else the first one.
    If the baseline is the best arm, the sentence has the difference of the next best one. If the best
    arm isn't proven to be better than the baseline, arms that are come last. Names aren't escaped.
    ``found`` holds the `statistics.findings` of the results.
    """
    ranking = _ranking(results, found)
    if len(ranking) == 1:
        return f"There is no arm to compare {results.baseline} with."
    best, second = ranking[:2]
    if best == results.baseline:
        shown, start = second, f"Best: {best}, the baseline; next is {second}"
        end = ""
    else:
        shown, start, end = best, f"Best: {best}", f" over {results.baseline}"
    difference, contrast = found.to_baseline[shown], found.contrasts.get(shown)
    sentence = f"{start}, {points(difference.value)}{end}, {_proof(difference, contrast)}"
    proven = [] if contrast and contrast.verdict == "better" else _better(results, found)
    if proven:
        sentence += f"; better than {results.baseline} at {_LEVEL}: {', '.join(proven)}"
    return f"{sentence}."


def leading_arms(results: ComparisonResults, found: Findings) -> list[str]:
    """Return the names of the arms in the `headline`: the best one beside the baseline, the baseline."""
    others = [name for name in _ranking(results, found) if name != results.baseline]
    return [*others[:1], results.baseline]


def _ranking(results: ComparisonResults, found: Findings) -> list[str]:
    """Return the names of the arms by accuracy, the highest first; of equal ones, the baseline first."""
    accuracies = {
        arm.name: (-estimate.value, arm.name != results.baseline)
        for arm, estimate in zip(results.arms, found.accuracies, strict=True)
    }
    return sorted(accuracies, key=lambda name: accuracies[name])


def _proof(difference: PairedDifference, contrast: Contrast | None) -> str:
    """Return in words whether a difference is proven, with its interval and its corrected p-value."""
    interval = interval_text(difference)
    interval = f"{CONFIDENCE} interval {interval}" if interval else _NO_INTERVAL
    if contrast is None:
        return f"not tested ({interval})"
    p_value = p_text(contrast.adjusted_p)
    p_value = p_value if p_value.startswith("<") else f"= {p_value}"
    words = "not proven" if contrast.verdict == "undecided" else f"significant at {_LEVEL}"
    return f"{words} ({interval}, p{NO_BREAK_SPACE}(Holm) {p_value})"


def _better(results: ComparisonResults, found: Findings) -> list[str]:
    """Return the names of the arms that are better than the baseline."""
    contrasts = found.contrasts.values()
    return [o.arm for o in contrasts if (o.verdict, o.other) == ("better", results.baseline)]


def verdicts(found: Findings) -> list[str]:
    """Return sentences: which arms are better or worse than another, or not proven to differ from it.

    A sentence lists all arms with the same verdict and the same other arm by name, not escaped. Without
    a contrast, there is no sentence. ``found`` holds the `statistics.findings` of the results.
    """
    groups = {
        "better": "Better than",
        "worse": "Worse than",
        "undecided": "Not proven to differ from",
    }
    contrasts = found.contrasts.values()
    sentences = []
    for other in dict.fromkeys(one.other for one in contrasts):
        for verdict, words in groups.items():
            names = [o.arm for o in contrasts if (o.verdict, o.other) == (verdict, other)]
            if names:
                sentences.append(f"{words} {other}: {', '.join(names)}.")
    return sentences


def cautions(results: ComparisonResults) -> list[str]:
    """Return warnings about few seeds, and about learning rates at an end of those that were tried.

    The names of arms aren't escaped. Without a reason to be careful, there is no text.
    """
    return [*_seed_cautions(results), *_rate_cautions(results)]


def _seed_cautions(results: ComparisonResults) -> list[str]:
    """Return a warning if the luck of the seeds is unknown or poorly known."""
    num_seeds = len(results.seeds)
    if num_seeds == 1:
        return [
            "One seed: how far another seed would move a difference isn't known. "
            f"{ENOUGH_SEEDS} seeds are better."
        ]
    if num_seeds >= ENOUGH_SEEDS:
        return []
    return [
        f"{num_seeds} seeds tell little about the luck of seeds: the intervals of two arms may differ "
        f"much for no other reason. {ENOUGH_SEEDS} are better."
    ]


def _rate_cautions(results: ComparisonResults) -> list[str]:
    """Return a warning for each end of the tried learning rates that is the choice of an arm."""
    tried = {arm.name: [rate for rate, _ in arm.tried_rates] for arm in results.arms}
    texts = []
    for end, extreme, further in ((min, "smallest", "smaller"), (max, "largest", "larger")):
        names = [
            arm.name
            for arm in results.arms
            if len(rates := tried[arm.name]) > 1 and arm.learning_rate == end(rates)
        ]
        if names:
            texts.append(
                f"The chosen learning rate is the {extreme} one that was tried for "
                f"{', '.join(names)}: a {further} one may be better."
            )
    return texts
