"""Give every sample of a question a verdict, and select the samples to train on.

A verdict is the first fault found, in the order text, answer, reasoning, duplicate; a sample without
a fault is ``kept`` or ``surplus``. `records.VERDICT_MEANINGS` explains each verdict. A question is
filtered without reference to other questions, so that questions can be processed as a stream.
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
from kpod_ray.teacher.thoughts import without_thoughts


@dataclasses.dataclass(frozen=True)
class FilterResult:
    """The verdicts on the samples of one question, and the questions to train on."""

    rows: tuple[Rationale, ...]
    """Every sample with its verdict, in the order of the sample indices. The reference rationale is
    the last row where no sample was kept and the reference rationale is used instead."""
    questions: tuple[Question, ...]
    """One question for each row with verdict ``kept`` or ``reference``, in the order of the rows, with
    the row's ``question_id`` as id. A question without a gold answer has the majority answer of the
    samples."""


@dataclasses.dataclass(slots=True)
class _Candidate:
    """A sample during filtering."""

    sample: Sample
    verdict: Verdict | None
    """None as long as the sample has passed all filters."""
    answer: str = ""
    """Answer extracted from the sample; empty before extraction."""
    reasoning: str = ""
    """Text without the closing answer sentence; empty before the answer is found to be correct."""


def filter_samples(
    question: Question,
    samples: Sequence[Sample],
    settings: TeacherBase,
    teacher: str,
    *,
    split_newlines: bool,
) -> FilterResult:
    """Give every sample of a question a verdict, and select the samples to train on.

    ``samples`` are all samples of the question, in any order, with different sample indices, perhaps
    none. With ``split_newlines``, a newline ends a reasoning step. ``teacher`` is the name for the
    samples' rows. With ``thoughts: drop``, all texts lose their thoughts first (`without_thoughts`).

    If the question has no gold answer, the majority answer of the samples with an answer and without a
    fault in the text replaces the missing gold answer, provided that ``filters.self_consistency`` is set
    and enough of these samples agree. Samples with another answer are ``minority``. If no majority
    answer is used, all of these samples are ``minority``.

    Of the samples without a fault, at most ``num_kept`` are ``kept`` and the others ``surplus``; the
    rows of both have the sample's text without the closing answer sentence. If no sample is kept and
    ``fallback`` is ``reference``, the reference rationale without its closing answer sentence is the
    last row, unless this text is empty or the question has no gold answer.

    Returns:
        The rows in the order of the sample indices, and the question of each row to train on. A row's
        ``id`` is ``<question id>/<sample index>`` or ``<question id>/reference``. From the second kept
        row on, a kept row and its question have the question id ``<question id>#<sample index>``.

    Raises:
        KpodError: ``num_kept`` is over 1, and the question's id ends in ``#`` and digits, as a copy's id
            does.
    """
    if settings.num_kept > 1 and COPY.search(question.id):
        raise KpodError(
            f"question id {question.id}: with teacher.num_kept over 1, an id must not end in # and "
            "digits, because the copies of a question have such ids; rename the question"
        )
    ordered = sorted(samples, key=lambda sample: sample.sample_index)
    if settings.thoughts == "drop":
        question, ordered = without_thoughts(question, ordered)
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
    """Return the row of a sample that belongs to no training question.

    The row has the verdict ``unknown_question``, an id as in `filter_samples`, the whole text of the
    sample, the sample's ``teacher_answer`` as predicted answer, and ``teacher`` as the teacher's name.
    """
    return _row(_Candidate(sample, "unknown_question", sample.teacher_answer), teacher)


def _read(sample: Sample, question: Question, filters: FiltersConfig) -> _Candidate:
    """Check the text of a sample; extract the answer if the text has no fault."""
    fault = _fault_of_text(sample, filters)
    if fault is not None:
        return _Candidate(sample, fault)
    answer = _answer(sample, question)
    return _Candidate(sample, None if answer else "no_answer", answer)


def _fault_of_text(sample: Sample, filters: FiltersConfig) -> Verdict | None:
    """Return the first fault of a sample that is visible without its answer; None for no fault."""
    if sample.finish_reason == "error":
        return "error"
    if sample.finish_reason in ("length", "content_filter"):
        return "truncated"
    if not sample.text.strip():
        return "empty"
    if len(sample.text) > filters.max_chars:
        return "too_long"
    if not is_readable(sample.text, filters.max_chars):
        return "unreadable"
    return None


def _answer(sample: Sample, question: Question) -> str:
    """Return the answer of a sample, from its answer column or else from its text; empty for none."""
    given = sample.teacher_answer.strip()
    if given and question.kind == "text":
        # An answer column holds the bare answer. Extraction finds a free-text answer only behind an
        # announcement such as "the answer is", which a bare answer lacks.
        return given
    return extract_answer(given or sample.text, question.kind, question.choices) or ""


def _agreed(question: Question, candidates: Sequence[_Candidate], filters: FiltersConfig) -> str:
    """Return the majority answer if enough samples agree, else an empty text."""
    if filters.self_consistency is None:
        return ""
    answers = [candidate.answer for candidate in _passed(candidates)]
    return majority_answer(answers, question.kind, filters.self_consistency) or ""


def _fault_of_answer(candidate: _Candidate, question: Question, answer: str) -> Verdict | None:
    """Return ``wrong`` or ``minority`` if a sample's answer differs from the right answer, else None."""
    is_same_text = candidate.answer == answer  # saves the parsing for most correct answers
    if is_same_text or (answer and answers_equal(candidate.answer, answer, question.kind)):
        return None
    return "wrong" if question.answer else "minority"


def _fault_of_reasoning(
    candidate: _Candidate, question: Question, filters: FiltersConfig, *, split_newlines: bool
) -> Verdict | None:
    """Return the first fault in the reasoning of a sample whose answer is correct."""
    reasoning = candidate.reasoning
    if not reasoning:
        return "empty"
    if not filters.allow_leaks and leaks_answer(
        reasoning, candidate.answer, question.kind, question.choices
    ):
        return "leaked"
    num_tokens = candidate.sample.num_tokens
    if num_tokens > 0:  # 0: the number of tokens is unknown
        fault = _fault_of_length(num_tokens, filters.min_tokens, filters.max_tokens)
        if fault is not None:
            return fault
    if filters.min_steps == 1 and filters.max_steps is None:
        return None
    num_steps = len(split_steps(reasoning, split_newlines=split_newlines))
    return _fault_of_length(num_steps, filters.min_steps, filters.max_steps)


def _fault_of_length(length: int, least: int, most: int | None) -> Verdict | None:
    """Return the fault of a length outside [least, most]; None as ``most`` means no upper limit."""
    if length < least:
        return "too_short"
    return "too_long" if most is not None and length > most else None


def _passed(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Return the candidates that have no verdict yet."""
    return [candidate for candidate in candidates if candidate.verdict is None]


def _mark_duplicates(candidates: Sequence[_Candidate], filters: FiltersConfig) -> None:
    """Give the verdict ``duplicate`` to each candidate that repeats an earlier candidate."""
    texts = [candidate.reasoning for candidate in candidates]
    repeats = duplicates(texts, filters.near_duplicate) if len(texts) > 1 else [False] * len(texts)
    for candidate, is_duplicate in zip(candidates, repeats, strict=True):
        if is_duplicate:
            candidate.verdict = "duplicate"


def _choose(candidates: Sequence[_Candidate], settings: TeacherBase) -> None:
    """Mark at most ``num_kept`` of the correct samples as ``kept`` and the others as ``surplus``."""
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
    """Return the sort key of a sample; the sample with the smallest key is selected first.

    The sort is stable, so samples with equal keys are selected in the order of their indices.
    """
    if selection == "most_likely":
        return -_mean_logprob(candidate.sample)
    length = len(candidate.reasoning)
    return {"shortest": length, "longest": -length}.get(selection, 0)


def _mean_logprob(sample: Sample) -> float:
    """Return the mean log-probability per token in nats; minus infinity if it is unknown."""
    if sample.logprob is None or math.isnan(sample.logprob) or sample.num_tokens <= 0:
        return -math.inf
    return sample.logprob / sample.num_tokens


def _row(candidate: _Candidate, teacher: str) -> Rationale:
    sample = candidate.sample
    assert candidate.verdict is not None
    # Rejected samples keep the whole text, so that users can see what the filter saw.
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
    """Return the reference rationale as the only row; no row without a rationale or a gold answer."""
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
    """Return the rows, and a question for each row to train on.

    The first question keeps its id; each further question is a copy with an id of its own.
    """
    questions = list[Question]()
    for position, row in enumerate(rows):
        if row.verdict not in USED_VERDICTS:
            continue
        if questions:
            own_id = f"{row.question_id}#{row.sample_index}"
            rows[position] = dataclasses.replace(row, question_id=own_id)
            questions.append(dataclasses.replace(question, id=own_id))
        else:
            questions.append(question)
    return FilterResult(tuple(rows), tuple(questions))
