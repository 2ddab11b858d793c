"""What a teacher wrote, from completions and from files of rationales, before it is judged."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kpod_ray.config import FileTeacher
from kpod_ray.errors import KpodError
from kpod_ray.records import Completion, Question
from kpod_ray.storage.artifacts import Manifest
from kpod_ray.storage.user_files import BadRow, read_rows


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
    logprob: float | None = None
    """Log-probability of the text under the teacher, in nats; None when unknown."""
    num_prompt_tokens: int = 0
    """Tokens of the prompt; 0 when unknown."""


@dataclasses.dataclass(frozen=True)
class Corpus:
    """All samples of a teacher, found by their questions."""

    teacher: str
    """Name written into the rows."""
    samples_of: Callable[[list[Question], int], list[list[Sample]]]
    """Returns the samples of some training questions, given the position of the first."""
    others: Callable[[], Iterable[Sample]] = list
    """Samples that belong to no training question; called after all questions."""
    details: Manifest = dataclasses.field(default_factory=dict)
    """What the manifest says of the generation."""


def corpus_of(teacher: str, samples: Iterable[Sample]) -> Corpus:
    """Return samples that already exist as a corpus, which hands each of them out once.

    Args:
        teacher: name written into the rows.
        samples: of any questions, in any order; those of one question keep their order.
    """
    by_question = defaultdict[str, list[Sample]](list)
    for sample in samples:
        by_question[sample.question_id].append(sample)

    def samples_of(batch: list[Question], first: int) -> list[list[Sample]]:
        """Return the samples of some questions, each once."""
        return [by_question.pop(question.id, []) for question in batch]

    def others() -> Iterable[Sample]:
        """Return the samples that no question has taken."""
        return [sample for samples in by_question.values() for sample in samples]

    return Corpus(teacher, samples_of, others)


def sample_of_completion(completion: Completion, question_id: str, sample_index: int) -> Sample:
    """Return a generated text as a sample of its question."""
    return Sample(
        question_id,
        sample_index,
        completion.text,
        completion.finish_reason,
        completion.num_tokens,
        "",
        completion.logprob,
        completion.num_prompt_tokens,
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


def _field(teacher: FileTeacher, row: Mapping[str, Any], line: int, name: str) -> str:
    column = getattr(teacher.columns, name)
    if column not in row:
        raise KpodError(
            f"rationales {teacher.path} line {line}: no column {column!r}; "
            f"set teacher.columns.{name} to the file's name for it"
        )
    return str(row[column] if row[column] is not None else "")
