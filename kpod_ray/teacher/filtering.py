"""Give every sample of a question its verdict, and choose what goes on.

One question at a time, so that any number of them streams through.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.answers.extraction import answers_equal, extract_answer
from kpod_ray.answers.final_sentence import is_readable, leaks_answer, strip_closing
from kpod_ray.config import FiltersConfig, TeacherBase
from kpod_ray.config.teacher import Selection
from kpod_ray.errors import KpodError
from kpod_ray.questions.splits import COPY
from kpod_ray.records import USED_VERDICTS, Question, Rationale, Verdict
from kpod_ray.teacher.sample_comparison import duplicates, majority_answer, most_diverse
from kpod_ray.teacher.samples import Sample


@dataclasses.dataclass(frozen=True)
class FilterResult:
    """What became of the samples of a question."""

    rows: tuple[Rationale, ...]
    """Every sample with its verdict, by sample index; last the reference rationale if it stands in."""
    questions: tuple[Question, ...]
    """What goes on: the question of each row that is kept or a reference, under the row's
    ``question_id``, its answer filled in where it had none."""


@dataclasses.dataclass(slots=True)
class _Candidate:
    """A sample on its way through the filters; without a verdict it has passed so far."""

    sample: Sample
    verdict: Verdict | None
    answer: str = ""
    reasoning: str = ""
    """The text without its closing, once the answer is found to be right."""


def filter_samples(
    question: Question,
    samples: Sequence[Sample],
    settings: TeacherBase,
    teacher: str,
    *,
    split_newlines: bool,
) -> FilterResult:
    """Give every sample of a question its verdict, the first fault found, and choose.

    Where the question has no gold answer, the one that most samples agree on stands in for it, if
    ``filters.self_consistency`` is set and enough of those that give an answer agree; the others
    are ``minority``. When too few agree, or without that setting, all that give one are.

    Args:
        question: a training question.
        samples: all of its samples, in any order.
        settings: filters, choice, and what becomes of a question without a correct rationale.
        teacher: name written into the rows.
        split_newlines: whether a newline ends a reasoning step.

    Raises:
        KpodError: Several samples may go on, and the question's id could be one of theirs.
    """
    if settings.num_kept > 1 and COPY.search(question.id):
        raise KpodError(
            f"question id {question.id}: with teacher.num_kept over 1, an id must not end in # and "
            "digits, which tell the samples of a question apart; rename it"
        )
    ordered = sorted(samples, key=lambda sample: sample.sample_index)
    candidates = [_read(sample, question, settings.filters) for sample in ordered]
    answer = question.answer or _agreed(question, candidates, settings.filters)
    for candidate in _passed(candidates):
        candidate.verdict = _fault_of_answer(candidate, question, answer)
    for candidate in _passed(candidates):
        candidate.reasoning = strip_closing(candidate.sample.text).strip()
        candidate.verdict = _fault_of_reasoning(
            candidate, question, settings.filters, split_newlines=split_newlines
        )
    _mark_duplicates(_passed(candidates), settings.filters)
    _choose(_passed(candidates), settings)
    rows = [_row(candidate, teacher) for candidate in candidates]
    if settings.fallback == "reference" and not any(row.verdict == "kept" for row in rows):
        rows += _reference_rows(question)
    if answer != question.answer:
        question = dataclasses.replace(question, answer=answer)
    return _with_questions(rows, question)


def unknown(sample: Sample, teacher: str) -> Rationale:
    """Return the row of a sample whose question isn't among the training questions."""
    return _row(_Candidate(sample, "unknown_question", sample.teacher_answer), teacher)


def _read(sample: Sample, question: Question, filters: FiltersConfig) -> _Candidate:
    """Extract the answer of a sample, unless its text already has a fault."""
    fault = _fault_of_text(sample, filters)
    if fault is not None:
        return _Candidate(sample, fault)
    answer = _answer(sample, question)
    return _Candidate(sample, None if answer else "no_answer", answer)


def _fault_of_text(sample: Sample, filters: FiltersConfig) -> Verdict | None:
    if sample.finish_reason == "error":
        return "error"
    if sample.finish_reason in ("length", "content_filter"):
        return "truncated"
    if not sample.text.strip():
        return "empty"
    if not is_readable(sample.text, filters.max_chars):
        return "unreadable"
    return None


def _answer(sample: Sample, question: Question) -> str:
    given = sample.teacher_answer.strip()
    if given and question.kind == "text":
        return given  # a bare text holds no words that announce it
    return extract_answer(given or sample.text, question.kind, question.choices) or ""


def _agreed(question: Question, candidates: Sequence[_Candidate], filters: FiltersConfig) -> str:
    """Return the answer that enough samples agree on, else an empty text."""
    if filters.self_consistency is None:
        return ""
    answers = [candidate.answer for candidate in _passed(candidates)]
    return majority_answer(answers, question.kind, filters.self_consistency) or ""


def _fault_of_answer(candidate: _Candidate, question: Question, answer: str) -> Verdict | None:
    is_same_text = candidate.answer == answer  # for most right ones nothing need be parsed
    if is_same_text or (answer and answers_equal(candidate.answer, answer, question.kind)):
        return None
    return "wrong" if question.answer else "minority"


def _fault_of_reasoning(
    candidate: _Candidate, question: Question, filters: FiltersConfig, *, split_newlines: bool
) -> Verdict | None:
    """Return the first fault of a sample with the right answer."""
    reasoning = candidate.reasoning
    if not reasoning:
        return "empty"
    if not filters.allow_leaks and leaks_answer(
        reasoning, candidate.answer, question.kind, question.choices
    ):
        return "leaked"
    num_tokens = candidate.sample.num_tokens
    if num_tokens > 0:
        fault = _fault_of_length(num_tokens, filters.min_tokens, filters.max_tokens)
        if fault is not None:
            return fault
    if filters.min_steps == 1 and filters.max_steps is None:
        return None
    num_steps = len(split_steps(reasoning, split_newlines=split_newlines))
    return _fault_of_length(num_steps, filters.min_steps, filters.max_steps)


def _fault_of_length(length: int, least: int, most: int | None) -> Verdict | None:
    if length < least:
        return "too_short"
    return "overlength" if most is not None and length > most else None


def _passed(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    return [candidate for candidate in candidates if candidate.verdict is None]


def _mark_duplicates(candidates: Sequence[_Candidate], filters: FiltersConfig) -> None:
    texts = [candidate.reasoning for candidate in candidates]
    repeats = duplicates(texts, filters.near_duplicate) if len(texts) > 1 else [False] * len(texts)
    for candidate, is_duplicate in zip(candidates, repeats, strict=True):
        if is_duplicate:
            candidate.verdict = "duplicate"


def _choose(candidates: Sequence[_Candidate], settings: TeacherBase) -> None:
    """Give the samples that go on, at most ``num_kept``, and the others their verdicts."""
    num = settings.num_kept
    if settings.selection == "most_diverse":
        order = most_diverse([candidate.reasoning for candidate in candidates], num)
    else:
        order = sorted(
            range(len(candidates)), key=lambda i: _rank(candidates[i], settings.selection)
        )
    chosen = set(order[:num])
    for index, candidate in enumerate(candidates):
        candidate.verdict = "kept" if index in chosen else "surplus"


def _rank(candidate: _Candidate, selection: Selection) -> float:
    """Return what is smallest for the sample to be chosen first; ties go by sample index."""
    if selection == "most_likely":
        return -_mean_logprob(candidate.sample)
    length = len(candidate.reasoning)
    return {"shortest": length, "longest": -length}.get(selection, 0)


def _mean_logprob(sample: Sample) -> float:
    """Return the mean log-probability of a token, minus infinity when it is unknown."""
    if sample.logprob is None or math.isnan(sample.logprob) or sample.num_tokens <= 0:
        return -math.inf
    return sample.logprob / sample.num_tokens


def _row(candidate: _Candidate, teacher: str) -> Rationale:
    sample = candidate.sample
    assert candidate.verdict is not None
    is_good = candidate.verdict in ("kept", "surplus")
    return Rationale(
        id=f"{sample.question_id}/{sample.sample_index}",
        question_id=sample.question_id,
        sample_index=sample.sample_index,
        text=candidate.reasoning if is_good else sample.text,
        teacher=teacher,
        finish_reason=sample.finish_reason,
        num_tokens=sample.num_tokens,
        predicted_answer=candidate.answer,
        verdict=candidate.verdict,
        logprob=sample.logprob,
    )


def _reference_rows(question: Question) -> list[Rationale]:
    """Return the reference rationale as a row, if the question has one and a gold answer."""
    text = strip_closing(question.reference_rationale).strip()
    if not text or not question.answer:
        return []
    row = Rationale(
        id=f"{question.id}/reference",
        question_id=question.id,
        sample_index=-1,
        text=text,
        teacher="reference",
        finish_reason="stop",
        num_tokens=0,
        predicted_answer=question.answer,
        verdict="reference",
    )
    return [row]


def _with_questions(rows: list[Rationale], question: Question) -> FilterResult:
    """Return the rows and a question for each that goes on; all but the first get ids of their own."""
    questions = list[Question]()
    for place, row in enumerate(rows):
        if row.verdict not in USED_VERDICTS:
            continue
        if questions:
            own_id = f"{row.question_id}#{row.sample_index}"
            rows[place] = dataclasses.replace(row, question_id=own_id)
            questions.append(dataclasses.replace(question, id=own_id))
        else:
            questions.append(question)
    return FilterResult(tuple(rows), tuple(questions))
