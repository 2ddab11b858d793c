"""The result of a paired test of two models in words, for pages and terminals."""

from __future__ import annotations

from kpod_ray.evaluation.paired import PairedTest
from kpod_ray.report.formatting import NO_BREAK_SPACE, number, p_text, signed_points


def verdict_in_words(test: PairedTest) -> str:
    """Return ``better`` or ``worse`` with the p-value, or else why the models can't be told apart."""
    p_value = _p(test)
    if test.verdict != "undecided":
        return f"{test.verdict} ({p_value})"
    questions = "question" if test.num_questions == 1 else "questions"
    seen = number(100 * test.smallest_effect, 1)
    return (
        f"not distinguishable with {test.num_questions:,} {questions} ({p_value}; the test could have "
        f"seen {seen}{NO_BREAK_SPACE}points)"
    )


def difference_in_points(test: PairedTest) -> str:
    """Return the difference with its 95 % interval in percentage points: ``+2.0 (-1.0 to +5.0)``.

    If the same answers are right, there is only the difference, ``0.0``.
    """
    interval = interval_in_points(test)
    difference = signed_points(test.difference.value)
    return f"{difference} ({interval})" if interval else difference


def interval_in_points(test: PairedTest) -> str:
    """Return the 95 % interval of the difference in percentage points: ``-1.0 to +5.0``.

    If the same answers are right, the text is empty: an interval from 0 to 0 would look exact.
    """
    if test.discordance.num_better == test.discordance.num_worse == 0:
        return ""
    return f"{signed_points(test.difference.low)} to {signed_points(test.difference.high)}"


def comparison_in_words(test: PairedTest) -> str:
    """Return the difference with its interval, the discordant answers and the verdict, in one line."""
    difference, discordance, interval = test.difference, test.discordance, interval_in_points(test)
    if not interval:
        return f"0.0{NO_BREAK_SPACE}points, the same answers are right: {verdict_in_words(test)}"
    return (
        f"{signed_points(difference.value)}{NO_BREAK_SPACE}points (95{NO_BREAK_SPACE}% interval "
        f"{interval}), {discordance.num_better:,} questions right only afterwards and "
        f"{discordance.num_worse:,} only before: {verdict_in_words(test)}"
    )


def _p(test: PairedTest) -> str:
    text = p_text(test.discordance.p_value)
    return f"McNemar's p {text if text.startswith('<') else f'= {text}'}"
