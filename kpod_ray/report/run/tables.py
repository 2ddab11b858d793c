"""Convert the results of a run to rows of formatted texts for the template, which escapes the texts.

Long lists are cut and long questions are clipped here, and long predictions and rejected rationales by
the template, so that a page of a large run can still be opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from kpod_ray.records import VERDICT_MEANINGS, Prediction, Rationale, Verdict
from kpod_ray.report.formatting import clipped, duration, percent
from kpod_ray.report.run.data import MAX_PREDICTIONS, RunResults
from kpod_ray.report.shading import ShownStep, keypoint_text, shown_steps

MAX_RATIONALES = 12
"""Rationales that are shown with their token weights."""
MAX_REJECTS = 5
"""Examples of rejected rationales for each verdict."""
MISSING_QUESTION = "(the question's text is not among the results)"


@dataclass(frozen=True, slots=True)
class BarRow:
    """One amount, its percentage of the total, and the length of its bar."""

    label: str
    """Name of the verdict or phase."""
    meaning: str
    """Meaning of a verdict; empty for a phase or an unknown verdict."""
    amount: str
    """Number of rationales, or duration."""
    share: str
    """Amount in per cent of the sum of all rows; a dash if the sum is 0."""
    width: str
    """Length of the bar, in per cent of the longest bar, for CSS."""


@dataclass(frozen=True, slots=True)
class ShownRationale:
    """The text of a question, and the coloured reasoning steps of its rationale; not escaped."""

    question: str
    """See `question_text`."""
    steps: tuple[ShownStep, ...]
    """See `shown_steps`."""
    keypoints: str
    """See `keypoint_text`."""


@dataclass(frozen=True, slots=True)
class ShownPrediction:
    """One test question with the predictions of the untouched and the distilled student, not clipped."""

    question: str
    """See `question_text`."""
    gold_answer: str
    before: Prediction | None
    """None if there is no prediction."""
    after: Prediction


def verdict_rows(counts: Mapping[str, int]) -> list[BarRow]:
    """Return a row for every verdict, also for those without rationales, in the order of `Verdict`.

    ``counts`` maps verdicts to numbers of rationales. Verdicts outside `Verdict` come last, sorted by
    name, with an empty meaning.
    """
    names = [*get_args(Verdict), *sorted(set(counts) - set(get_args(Verdict)))]
    amounts = {name: counts.get(name, 0) for name in names}
    texts = [f"{amount:,}" for amount in amounts.values()]
    return _bar_rows(amounts, texts)


def phase_rows(phase_seconds: Mapping[str, float]) -> list[BarRow]:
    """Return a row with the duration of each phase.

    ``phase_seconds`` maps the name of an artifact, which becomes the label, to the seconds of its phase.
    """
    return _bar_rows(phase_seconds, [duration(seconds) for seconds in phase_seconds.values()])


def _bar_rows(amounts: Mapping[str, float], texts: Sequence[str]) -> list[BarRow]:
    total, longest = sum(amounts.values()), max(amounts.values(), default=0)
    return [
        BarRow(
            name,
            VERDICT_MEANINGS.get(name, ""),
            text,
            percent(amount / total if total else math.nan),
            f"{100 * amount / longest if longest > 0 else 0:.2f}",
        )
        for (name, amount), text in zip(amounts.items(), texts, strict=True)
    ]


def reject_groups(rejects: Iterable[Rationale]) -> dict[str, list[Rationale]]:
    """Return verdict -> its first `MAX_REJECTS` rationales; verdicts in the order of their first one.

    Rationales aren't filtered by verdict, and their texts aren't clipped.
    """
    groups: dict[str, list[Rationale]] = {}
    for rationale in rejects:
        group = groups.setdefault(rationale.verdict, [])
        if len(group) < MAX_REJECTS:
            group.append(rationale)
    return groups


def shown_rationales(results: RunResults) -> list[ShownRationale]:
    """Return the first `MAX_RATIONALES` weighted rationales with their questions, cut by step and token.

    A difficulty that isn't in ``results.step_difficulties`` is NaN.
    """
    return [
        ShownRationale(
            question_text(results, rationale.question_id),
            shown_steps(rationale, results.step_difficulties.get(rationale.question_id, ())),
            keypoint_text(rationale),
        )
        for rationale in results.weighted_rationales[:MAX_RATIONALES]
    ]


def shown_predictions(results: RunResults) -> list[ShownPrediction]:
    """Return the first `MAX_PREDICTIONS` of ``results.predictions`` with the texts of the questions."""
    return [
        ShownPrediction(
            question_text(results, pair.question_id),
            pair.after.gold_answer,
            pair.before,
            pair.after,
        )
        for pair in results.predictions[:MAX_PREDICTIONS]
    ]


def prediction_counts(results: RunResults) -> dict[str, int]:
    """Return how many of ``results.correct_pairs`` were right before and after the training.

    Returns:
        ``right both times``, ``only right after training``, ``only right before training`` and ``wrong
        both times`` -> number of questions; all four keys, in this order. Without pairs, the mapping is
        empty.
    """
    names = {
        (True, True): "right both times",
        (False, True): "only right after training",
        (True, False): "only right before training",
        (False, False): "wrong both times",
    }
    counts = dict.fromkeys(names.values(), 0)
    for pair in results.correct_pairs:
        counts[names[pair]] += 1
    return counts if any(counts.values()) else {}


def question_text(results: RunResults, question_id: str) -> str:
    """Return the text of a question with its choices below, one a line, such as ``A. yes``; not escaped.

    A text of more than 2,000 characters is clipped, see `clipped`. `MISSING_QUESTION` is returned if
    ``results.questions`` lacks the id.
    """
    question = results.questions.get(question_id)
    if question is None:
        return MISSING_QUESTION
    choices = [f"{chr(ord('A') + at)}. {choice}" for at, choice in enumerate(question.choices)]
    return clipped("\n".join([question.question, *choices]))
