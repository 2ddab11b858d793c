"""Rationales that a user's file holds: the samples of a teacher of kind ``file``.

`kpod_ray.storage.user_files` reads the rows of each file format and their fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kpod_ray.config import FileTeacher
from kpod_ray.errors import KpodError
from kpod_ray.questions.gold_answers import read_gold
from kpod_ray.storage.user_files import (
    BadRow,
    FieldError,
    id_field,
    optional_text_field,
    place,
    read_rows,
)
from kpod_ray.teacher.samples import Sample


def read_samples(teacher: FileTeacher) -> list[Sample]:
    """Read the samples of a file of rationales, in the order of the file.

    Rows with the same question id are samples of one question with indices 0, 1, and so on. The columns
    ``id`` and ``rationale`` (as named in ``teacher.columns``) are required; a rationale may be null or
    empty. ``finish_reason`` and ``teacher_answer`` are optional; an answer may be text, a number or a
    boolean (``yes`` or ``no``). Numbers of tokens and log-probabilities are unknown.

    Raises:
        KpodError: ``teacher.path``, with ``~`` expanded, doesn't exist, is a folder, doesn't end in
            ``.jsonl`` or ``.parquet`` or can't be read, a row lacks a required column, a row can't be
            parsed, or a field holds no text; the first bad row raises the error.
    """
    samples = []
    seen = dict[str, int]()
    for line, row in read_rows(teacher.path):
        if isinstance(row, BadRow):
            raise KpodError(f"rationales {row}")
        try:
            sample = _sample(teacher, row, seen)
        except FieldError as error:
            raise KpodError(f"rationales {place(teacher.path, line)}: {error}") from error
        seen[sample.question_id] = sample.sample_index + 1
        samples.append(sample)
    return samples


def _sample(teacher: FileTeacher, row: Mapping[str, Any], seen: Mapping[str, int]) -> Sample:
    """Return the sample of a row; ``seen`` counts the earlier samples of each question."""
    columns = teacher.columns
    for name in ("id", "rationale"):
        column = getattr(columns, name)
        if column not in row:
            raise FieldError(
                f"no column {column!r}; set teacher.columns.{name} to the file's name for it"
            )
    question_id = id_field(row, columns.id)
    return Sample(
        question_id=question_id,
        sample_index=seen.get(question_id, 0),
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
