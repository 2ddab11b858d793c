"""What a sweep found, in sentences, and reasons to be careful."""

from __future__ import annotations

from kpod_ray.config import Value
from kpod_ray.report.formatting import NO_BREAK_SPACE, number, percent
from kpod_ray.report.paired_words import comparison_in_words
from kpod_ray.report.sweep.axes import axis_places, domain_range
from kpod_ray.report.sweep.data import SweepPage, value_text

NEAR_END = 0.05
"""Distance from an end of a domain, as a fraction of its length, up to which a value is near it."""


def headline(page: SweepPage) -> str:
    """Return one or two sentences with the best trial and the accuracies of its student.

    The objectives are the last ones of the finished trials, the worst one only with two or more such
    trials; without any, one sentence says so. The accuracies on the test questions are left out unless
    ``page.accuracies`` has both ``untouched`` and ``best``, and the paired test is left out without
    ``page.gain``. The text isn't escaped.
    """
    finished = page.finished()
    if not finished:
        return "No trial was finished."
    best, worst = finished[0], finished[-1]
    trials = "trial" if len(page.trials) == 1 else "trials"
    text = (
        f"Best of {len(page.trials)} {trials}: {best.trial_id}, with a {page.objective} of "
        f"{best.score:.4f}"
    )
    if len(finished) > 1:
        text += f" (the worst that was finished: {worst.score:.4f})"
    if set(page.accuracies) == {"untouched", "best"}:
        before, after = (percent(page.accuracies[name]["value"]) for name in ("untouched", "best"))
        text += f". Its student answers {after} of the test questions, the untouched {before}"
    if page.gain is not None:
        text += f": {comparison_in_words(page.gain)}"
    return f"{text}."


def percent_done(done: float) -> str:
    """Return a percentage of the training with the unit, with a decimal only if it isn't whole."""
    return f"{number(done, 0 if done == round(done) else 1)}{NO_BREAK_SPACE}%"


def cautions(page: SweepPage) -> list[str]:
    """Return a warning for each setting of the best trial that is at or near an end of its domain.

    Numbers count as near an end within `NEAR_END`, on the scale of the domain, whole numbers and choices
    only at it; of choices, only three or more numbers have ends. The texts aren't escaped.
    """
    finished = page.finished()
    if not finished:
        return []
    texts = []
    for path, value in finished[0].settings.items():
        end = _end(page, path, value)
        if end:
            texts.append(
                f"The best {path}, {value_text(value)}, is at the {end} end of the values that were "
                f"tried: a {'smaller' if end == 'lower' else 'larger'} one may be better."
            )
    return texts


def _end(page: SweepPage, path: str, value: Value) -> str:
    """Return ``lower`` or ``upper`` for a value at or near an end of its domain, else an empty text."""
    domain = page.sweep.space[path]
    if domain.choice is not None:
        numbers = [
            c for c in domain.choice if isinstance(c, int | float) and not isinstance(c, bool)
        ]
        if len(numbers) < max(3, len(domain.choice)):
            return ""
        return "lower" if value == min(numbers) else "upper" if value == max(numbers) else ""
    low, high = domain_range(domain)
    (place,), _ = axis_places(domain, [value])
    margin = 0.0 if domain.randint is not None else NEAR_END * (high - low)
    if place <= low + margin:
        return "lower"
    return "upper" if place >= high - margin else ""
