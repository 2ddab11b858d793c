"""Rationales that a user's file holds: the samples of a teacher of kind ``file``.

`kpod_ray.storage.user_files` reads the rows of each file format; this module checks their fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kpod_ray.config import FileTeacher
from kpod_ray.errors import KpodError
from kpod_ray.storage.user_files import BadRow, read_rows
from kpod_ray.teacher.samples import Sample


def read_samples(teacher: FileTeacher) -> list[Sample]:
    """Read the samples of a file of rationales, in the order of the file.

    Rows with the same question id are samples of one question with indices 0, 1, and so on. The columns
    ``id`` and ``rationale`` (as named in ``teacher.columns``) are required; a null value counts as an
    empty text, and a value of another type is converted by ``str``. ``finish_reason`` and
    ``teacher_answer`` are optional: null, an empty text, the number 0 and false give an empty text,
    other values are converted by ``str``. Numbers of tokens and log-probabilities are unknown. Unpaired
    surrogates in a text are kept.

    Raises:
        KpodError: ``teacher.path``, with ``~`` expanded, doesn't exist, is a folder, doesn't end in
            ``.jsonl`` or ``.parquet`` or can't be read, a row lacks a required column, or a row can't be
            parsed; the first bad row raises the error.
    """
    samples = []
    seen = dict[str, int]()
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
    """Return a required field of a row as text; an empty text for a null value."""
    column = getattr(teacher.columns, name)
    if column not in row:
        raise KpodError(
            f"rationales {teacher.path} line {line}: no column {column!r}; "
            f"set teacher.columns.{name} to the file's name for it"
        )
    return str(row[column] if row[column] is not None else "")
