"""Convert the results of a run to rows of formatted texts for the template.

The texts aren't escaped: the template escapes them. Long texts are clipped and long lists are cut, so
that a page of a large run can still be opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from kpod_ray.records import VERDICT_MEANINGS, Prediction, Rationale, Verdict
from kpod_ray.report.formatting import NO_VALUE, clipped, duration, percent, points
from kpod_ray.report.run.data import RunResults
from kpod_ray.report.run.wording import difference_in_words
from kpod_ray.report.shading import Scale, ShownStep, shown_steps

MAX_RATIONALES = 12
"""Rationales that are shown with their token weights."""
MAX_PREDICTIONS = 200
"""Test questions that are shown with their predictions."""
MAX_REJECTS = 5
"""Examples of rejected rationales for each verdict."""
MISSING_QUESTION = "(the question's text is not among the results)"


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """The accuracy of one model, and its difference to the first model, as formatted texts."""

    label: str
    num_correct: str
    num_questions: str
    accuracy: str
    interval: str
    difference: str
    """Difference to the first model, in percentage points; a dash for the first model."""
    words: str
    """The conclusion from the difference, see `difference_in_words`; empty for the first model."""


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
    """The text of a question, and the coloured reasoning steps of its rationale."""

    question: str
    steps: tuple[ShownStep, ...]


@dataclass(frozen=True, slots=True)
class ShownPrediction:
    """One test question with the predictions of the untouched and of the distilled student."""

    question: str
    gold_answer: str
    before: Prediction | None
    after: Prediction


def accuracy_rows(results: RunResults) -> list[AccuracyRow]:
    """Return a row for each of ``results.accuracies``, in order; each is compared with the first."""
    rows = []
    for accuracy in results.accuracies:
        before = results.accuracies[0]
        is_first = accuracy is before
        has_questions = accuracy.num_questions > 0
        interval = f"{percent(accuracy.low)} to {percent(accuracy.high)}"
        difference = NO_VALUE if is_first else points(accuracy.share - before.share)
        rows.append(
            AccuracyRow(
                accuracy.label,
                f"{accuracy.num_correct:,}",
                f"{accuracy.num_questions:,}",
                percent(accuracy.share),
                interval if has_questions else NO_VALUE,
                difference,
                "" if is_first else difference_in_words(before, accuracy),
            )
        )
    return rows


def verdict_rows(counts: Mapping[str, int]) -> list[BarRow]:
    """Return a row for every verdict, also for those without rationales, in the order of `Verdict`.

    Args:
        counts: verdict -> number of rationales. Verdicts outside `Verdict` come last, sorted by name.
    """
    names = [*get_args(Verdict), *sorted(set(counts) - set(get_args(Verdict)))]
    amounts = {name: counts.get(name, 0) for name in names}
    texts = [f"{amount:,}" for amount in amounts.values()]
    return _bar_rows(amounts, texts)


def phase_rows(phase_seconds: Mapping[str, float]) -> list[BarRow]:
    """Return a row for each phase with its duration, in the order of the mapping.

    Args:
        phase_seconds: name of an artifact -> seconds that its phase took.
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
    """Return verdict -> its first `MAX_REJECTS` rationales; verdicts in the order of their first one."""
    groups: dict[str, list[Rationale]] = {}
    for rationale in rejects:
        group = groups.setdefault(rationale.verdict, [])
        if len(group) < MAX_REJECTS:
            group.append(rationale)
    return groups


def shown_rationales(results: RunResults, scale: Scale) -> list[ShownRationale]:
    """Return the run's weighted rationales, the first `MAX_RATIONALES`, to be coloured by token weight.

    Each has the text of its question, see `question_text`, and its steps with their difficulties.

    Args:
        results: results of the run.
        scale: maps the token weights of all the rationales to strengths of the colour.
    """
    return [
        ShownRationale(
            question_text(results, rationale.question_id),
            shown_steps(rationale, results.step_difficulties.get(rationale.question_id, ()), scale),
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
    """Return the numbers of test questions in ``results.predictions`` by when they were right.

    Returns:
        ``right both times``, ``only right after training``, ``only right before training`` and ``wrong
        both times`` -> number of questions. Questions without a prediction of the untouched student
        aren't counted. If no question is counted, the mapping is empty.
    """
    names = {
        (True, True): "right both times",
        (False, True): "only right after training",
        (True, False): "only right before training",
        (False, False): "wrong both times",
    }
    counts = dict.fromkeys(names.values(), 0)
    for pair in results.predictions:
        if pair.before is not None:
            counts[names[pair.before.is_correct, pair.after.is_correct]] += 1
    return counts if any(counts.values()) else {}


def question_text(results: RunResults, question_id: str) -> str:
    """Return the text of a question with its lettered choices, one a line, clipped to 2,000 characters.

    `MISSING_QUESTION` is returned if ``results.questions`` lacks the id.
    """
    question = results.questions.get(question_id)
    if question is None:
        return MISSING_QUESTION
    choices = [f"{chr(ord('A') + at)}. {choice}" for at, choice in enumerate(question.choices)]
    return clipped("\n".join([question.question, *choices]))
