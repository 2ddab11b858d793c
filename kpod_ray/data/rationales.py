"""Turn completions and rationale files into `Rationale` rows, each with its verdict."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kpod_ray.algorithm.answers import answers_equal, extract_answer
from kpod_ray.algorithm.closings import is_readable, strip_closing
from kpod_ray.config import FileTeacher, TeacherBase
from kpod_ray.data.prompts import question_text
from kpod_ray.data.tables import BadRow, read_rows
from kpod_ray.errors import KpodError
from kpod_ray.records import Completion, GenerationRequest, Question, Rationale, Verdict


@dataclasses.dataclass(frozen=True)
class Sample:
    """One text of a teacher, before it is judged."""

    question_id: str
    sample_index: int
    text: str
    finish_reason: str
    num_tokens: int
    teacher_answer: str
    """Answer that came beside the text, else empty."""


def generation_requests(
    questions: Sequence[Question], num_samples: int, seed: int
) -> list[GenerationRequest]:
    """Return one request for each sample of each question, with a seed from its content."""
    return [
        GenerationRequest(f"{q.id}/{k}", question_text(q), sample_seed(seed, q.id, k))
        for q in questions
        for k in range(num_samples)
    ]


def sample_seed(seed: int, question_id: str, sample_index: int) -> int:
    """Return a seed that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{seed}/{question_id}/{sample_index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def sample_of_completion(completion: Completion) -> Sample:
    """Return a generated text as a sample."""
    question_id, _, index = completion.id.rpartition("/")
    return Sample(
        question_id,
        int(index),
        completion.text,
        completion.finish_reason,
        completion.num_tokens,
        "",
    )


def read_samples(teacher: FileTeacher) -> list[Sample]:
    """Read rationales from a file; several rows of one question are its samples in file order.

    Raises:
        KpodError: The file or a column is missing, or a row is broken.
    """
    samples, seen = [], dict[str, int]()
    for line, row in read_rows(teacher.path):
        if isinstance(row, BadRow):
            raise KpodError(f"rationales {row.path} line {row.line}: {row.reason}")
        question_id = _field(teacher, row, line, "id")
        index = seen.get(question_id, 0)
        seen[question_id] = index + 1
        columns = teacher.columns
        samples.append(
            Sample(
                question_id=question_id,
                sample_index=index,
                text=_field(teacher, row, line, "rationale"),
                finish_reason=str(row.get(columns.finish_reason) or ""),
                num_tokens=0,
                teacher_answer=str(row.get(columns.teacher_answer) or ""),
            )
        )
    return samples


def judge(
    samples: Iterable[Sample],
    questions: Mapping[str, Question],
    settings: TeacherBase,
    teacher: str,
) -> list[Rationale]:
    """Give every sample its verdict; keep the first correct rationale of each question.

    Args:
        samples: in any order.
        questions: training questions by id.
        settings: limits, and what becomes of a question without a correct rationale.
        teacher: name written into the rows.

    Returns:
        One row a sample, and one more for each question whose reference rationale stands in, sorted
        by question and sample.
    """
    rows, kept = [], set[str]()
    for sample in sorted(samples, key=lambda s: (s.question_id, s.sample_index)):
        verdict, answer = _verdict(sample, questions.get(sample.question_id), settings)
        if verdict == "kept" and sample.question_id in kept:
            verdict = "surplus"
        elif verdict == "kept":
            kept.add(sample.question_id)
        rows.append(_row(sample, teacher, answer, verdict))
    if settings.missing == "reference":
        missing = [question for question in questions.values() if question.id not in kept]
        rows += [_reference_row(q) for q in missing if strip_closing(q.reference_rationale).strip()]
    return sorted(rows, key=lambda row: (row.question_id, row.sample_index))


def _verdict(
    sample: Sample, question: Question | None, settings: TeacherBase
) -> tuple[Verdict, str]:
    """Return the verdict and the extracted answer; the first fault found is named."""
    if question is None:
        return "unknown_question", sample.teacher_answer
    fault = _fault_of_text(sample, settings)
    if fault is not None:
        return fault, ""
    answer = _answer(sample, question)
    if not answer:
        return "no_answer", ""
    if not answers_equal(answer, question.answer, question.kind):
        return "wrong", answer
    if not strip_closing(sample.text).strip():
        return "empty", answer
    return "kept", answer


def _answer(sample: Sample, question: Question) -> str:
    given = sample.teacher_answer.strip()
    if given and question.kind == "text":
        return given  # a bare text holds no words that announce it
    return extract_answer(given or sample.text, question.kind, question.choices) or ""


def _fault_of_text(sample: Sample, settings: TeacherBase) -> Verdict | None:
    if sample.finish_reason == "error":
        return "error"
    if sample.finish_reason == "length":
        return "truncated"
    if not sample.text.strip():
        return "empty"
    if not is_readable(sample.text, settings.max_reasoning_chars):
        return "unreadable"
    return None


def _row(sample: Sample, teacher: str, answer: str, verdict: Verdict) -> Rationale:
    is_used = verdict in ("kept", "surplus")
    return Rationale(
        id=f"{sample.question_id}/{sample.sample_index}",
        question_id=sample.question_id,
        sample_index=sample.sample_index,
        text=strip_closing(sample.text).strip() if is_used else sample.text,
        teacher=teacher,
        finish_reason=sample.finish_reason,
        num_tokens=sample.num_tokens,
        predicted_answer=answer,
        verdict=verdict,
    )


def _reference_row(question: Question) -> Rationale:
    return Rationale(
        id=f"{question.id}/reference",
        question_id=question.id,
        sample_index=-1,
        text=strip_closing(question.reference_rationale).strip(),
        teacher="reference",
        finish_reason="stop",
        num_tokens=0,
        predicted_answer=question.answer,
        verdict="reference",
    )


def _field(teacher: FileTeacher, row: Mapping[str, Any], line: int, name: str) -> str:
    column = getattr(teacher.columns, name)
    if column not in row:
        raise KpodError(
            f"rationales {teacher.path} line {line}: no column {column!r}; "
            f"set teacher.columns.{name} to the file's name for it"
        )
    return str(row[column] if row[column] is not None else "")
