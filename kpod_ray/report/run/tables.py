"""The results as rows of text, ready for the template: chosen, counted, formatted, but not escaped.

The template escapes. Long texts are clipped and long lists cut, so that no run makes a page too
large to open.
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
MAX_PREDICTIONS = 200
MAX_REJECTS = 5
"""Examples for each reason."""
MISSING_QUESTION = "(the question's text is not among the results)"


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """One evaluated model; shares as per cent."""

    label: str
    num_correct: str
    num_questions: str
    accuracy: str
    interval: str
    difference: str
    """Against the first model, in points; a dash for the first itself."""
    words: str
    """What the difference means."""


@dataclass(frozen=True, slots=True)
class BarRow:
    """One amount with its share of the total, drawn as a bar."""

    label: str
    meaning: str
    amount: str
    share: str
    width: str
    """Length of the bar in per cent of the longest, for CSS."""


@dataclass(frozen=True, slots=True)
class ShownRationale:
    """One rationale with its coloured reasoning steps."""

    question: str
    steps: tuple[ShownStep, ...]


@dataclass(frozen=True, slots=True)
class ShownPrediction:
    """One test question with the answers of both models."""

    question: str
    gold_answer: str
    before: Prediction | None
    after: Prediction


def accuracy_rows(results: RunResults) -> list[AccuracyRow]:
    """Return a row for each model, each but the first compared with the first."""
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
    """Return a row for every verdict, those without a rationale too, in the order of `records`."""
    names = [*get_args(Verdict), *sorted(set(counts) - set(get_args(Verdict)))]
    amounts = {name: counts.get(name, 0) for name in names}
    texts = [f"{amount:,}" for amount in amounts.values()]
    return _bar_rows(amounts, texts)


def phase_rows(phase_seconds: Mapping[str, float]) -> list[BarRow]:
    """Return a row for each phase with how long it took."""
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
    """Return at most MAX_REJECTS examples for each verdict, in the given order."""
    groups: dict[str, list[Rationale]] = {}
    for rationale in rejects:
        group = groups.setdefault(rationale.verdict, [])
        if len(group) < MAX_REJECTS:
            group.append(rationale)
    return groups


def shown_rationales(results: RunResults, scale: Scale) -> list[ShownRationale]:
    """Return the first MAX_RATIONALES rationales, coloured on one common scale."""
    return [
        ShownRationale(
            question_text(results, rationale.question_id),
            shown_steps(rationale, results.step_difficulties.get(rationale.question_id, ()), scale),
        )
        for rationale in results.weighted_rationales[:MAX_RATIONALES]
    ]


def shown_predictions(results: RunResults) -> list[ShownPrediction]:
    """Return the first MAX_PREDICTIONS test questions with the answers of both models."""
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
    """Return how many of all given test questions changed from wrong to right, and so on."""
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
    """Return a question with its choices, or a remark where it isn't among the results."""
    question = results.questions.get(question_id)
    if question is None:
        return MISSING_QUESTION
    choices = [f"{chr(ord('A') + at)}. {choice}" for at, choice in enumerate(question.choices)]
    return clipped("\n".join([question.question, *choices]))
