"""Rationales that a user's file holds: the samples of a teacher of kind ``file``.

A rationale belongs to the question with its id or, without an id of a question, to the question with its
text. `kpod_ray.questions.columns` tells which columns hold what.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from kpod_ray.config import FileTeacher
from kpod_ray.data.prompts import question_text
from kpod_ray.errors import KpodError
from kpod_ray.questions.columns import TableColumns, names_of, rationale_columns
from kpod_ray.questions.content_ids import content_id, normal_text
from kpod_ray.questions.conversations import plain_row
from kpod_ray.questions.gold_answers import read_gold
from kpod_ray.records import Question
from kpod_ray.storage.bad_rows import BadRow, place
from kpod_ray.storage.user_files import (
    FieldError,
    id_field,
    optional_text_field,
    read_rows,
)
from kpod_ray.teacher.samples import Sample


@dataclasses.dataclass(frozen=True)
class FileSamples:
    """The samples of a file of rationales."""

    samples: list[Sample]
    """In the order of the file."""
    num_unmatched: int
    """Samples whose row has the text of a question, but neither an id nor a text of the questions."""
    example: str
    """Text of the question of the first of them; empty without any."""

    def warning(self) -> str:
        """Return one line about the samples of unknown questions; empty without any."""
        if not self.num_unmatched:
            return ""
        return (
            f"{self.num_unmatched:,} of {len(self.samples):,} rationales belong to no question, such as "
            f"those of {shortened(self.example)!r}: they are matched by id or by the question's text"
        )


def shortened(text: str) -> str:
    """Return at most 100 characters of a text, in one line."""
    line = normal_text(text)
    return line if len(line) <= 100 else f"{line[:97]}..."


def read_samples(teacher: FileTeacher, questions: Iterable[Question]) -> FileSamples:
    """Read the samples of a file of rationales, in the order of the file.

    The columns are those of `rationale_columns`. A rationale, which may be null or empty, belongs to the
    question that has the row's id. If there is none, or the table has no ids, it belongs to the first
    question whose text, with or without its choices, is that of the row (`normal_text`), perhaps without
    the first or the last line of the row's text, such as an instruction to reason step by step. If there
    is none either, its question id is the row's own id, or else a `content_id`.

    Rows of one question are its samples 0, 1, and so on. ``finish_reason`` and ``teacher_answer`` are
    optional; an answer may be text, a number or a boolean (``yes`` or ``no``). Numbers of tokens and
    log-probabilities are unknown.

    Args:
        teacher: settings of the teacher.
        questions: the questions of the run, of both splits.

    Raises:
        KpodError: ``teacher.path``, with ``~`` expanded, doesn't exist, is a folder, has an unknown
            ending or can't be read, two columns may be the one that is looked for, a row lacks a
            required column, a row can't be parsed, or a field holds no text; the first bad row raises
            the error.
    """
    index = _Index(questions)
    found = FileSamples([], 0, "")
    counts = Counter[str]()
    names, rows = names_of(read_rows(teacher.path))
    columns = rationale_columns(names, teacher.columns, f"rationales {teacher.path}")
    for line, row in rows:
        if isinstance(row, BadRow):
            raise KpodError(f"rationales {row}")
        try:
            plain = plain_row(row, columns)
            text = optional_text_field(plain, columns.question)
            question_id = index.id_of(_id(row, columns, text), text)
            sample = _sample(plain, columns, question_id, counts[question_id])
        except FieldError as error:
            raise KpodError(f"rationales {place(teacher.path, line)}: {error}") from error
        counts[question_id] += 1
        found.samples.append(sample)
        if text and question_id not in index.ids:
            found = dataclasses.replace(
                found, num_unmatched=found.num_unmatched + 1, example=found.example or text
            )
    return found


class _Index:
    """The questions by id and by text."""

    def __init__(self, questions: Iterable[Question]) -> None:
        self.ids: set[str] = set()
        self.by_text: dict[str, str] = {}
        for question in questions:
            self.ids.add(question.id)
            for text in (question.question, question_text(question)):
                self.by_text.setdefault(normal_text(text), question.id)

    def id_of(self, own_id: str, text: str) -> str:
        """Return the id of the question that a row belongs to; see `read_samples`."""
        if own_id in self.ids or not text:
            return own_id
        first, _, rest = text.strip().partition("\n")
        start, _, last = text.strip().rpartition("\n")
        for part in (text, start if last else "", rest if first else ""):
            found = self.by_text.get(normal_text(part))
            if found is not None:
                return found
        return own_id or content_id(text, (), "train")


def _id(row: Mapping[str, Any], columns: TableColumns, text: str) -> str:
    """Return the id of a row; empty if the table has no column of ids, but the row a question."""
    if not columns.id and not text.strip():
        raise FieldError(
            "no column 'id'; set teacher.columns.id to the file's name for it, or "
            "teacher.columns.question to that of the question"
        )
    has_id = columns.id and (row.get(columns.id) is not None or not text.strip())
    if has_id and columns.id not in row:
        raise FieldError(
            f"no column {columns.id!r}; set teacher.columns.id to the file's name for it"
        )
    return id_field(row, columns.id) if has_id else ""


def _sample(row: Mapping[str, Any], columns: TableColumns, question_id: str, index: int) -> Sample:
    """Return the sample of a row."""
    if columns.rationale not in row:
        raise FieldError(
            f"no column {columns.rationale!r}; set teacher.columns.rationale to the file's name for it"
        )
    return Sample(
        question_id=question_id,
        sample_index=index,
        text=optional_text_field(row, columns.rationale),
        finish_reason=optional_text_field(row, columns.finish_reason),
        num_tokens=0,
        teacher_answer=_answer(row, columns.teacher_answer),
    )


def _answer(row: Mapping[str, Any], name: str) -> str:
    """Return the answer in a column as text; empty if the answer is missing, null or an empty text."""
    value = row.get(name)
    is_text = value is None or isinstance(value, str)
    return optional_text_field(row, name) if is_text else read_gold(row, name)[0]
