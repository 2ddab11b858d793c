"""Rows of user files, one at a time, and their fields, with errors that name file, line and field.

A row that can't be read is a `BadRow`, never an exception: the caller decides how many it bears. A
file that can't be read at all is a `KpodError`. Files are streamed, never held in memory.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kpod_ray.errors import KpodError

_BATCH_ROWS = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't be used, and why; its text form is one line for the user."""

    path: str
    line: int
    """Line of a JSON Lines file, row of any other source; from 1."""
    reason: str

    def __str__(self) -> str:
        return f"{place(self.path, self.line)}: {self.reason}"


class FieldError(ValueError):
    """A field that can't be used; the text names the field and says what is wrong."""


def place(path: str, line: int) -> str:
    """Return where a row stands, such as ``a.jsonl line 3`` or ``a.parquet row 3``."""
    return f"{path} {'line' if path.lower().endswith('.jsonl') else 'row'} {line}"


def checked_file(path: str) -> Path:
    """Return an existing file; ``~`` is the home folder.

    Raises:
        KpodError: It is missing or a folder.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        raise KpodError(f"{path} is a folder; give the file inside it")
    if not file.is_file():
        raise KpodError(f"file {path} doesn't exist; check the path")
    return file


def file_hash(path: str) -> str:
    """Return the sha256 of a file's bytes.

    Raises:
        KpodError: It is missing or can't be read.
    """
    try:
        with checked_file(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise KpodError(f"{path} can't be read: {error.strerror}") from error


def read_rows(path: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Return the rows of a JSON Lines or Parquet file with their line or row numbers, from 1.

    Blank lines of a JSON Lines file are no rows. The file is checked now and read while iterating.

    Raises:
        KpodError: The file is missing, a folder, of an unknown format or can't be read.
    """
    file = checked_file(path)
    ending = file.suffix.lower()
    if ending == ".jsonl":
        return _json_rows(path, file)
    if ending == ".parquet":
        return _parquet_rows(path, file)
    raise KpodError(f"{path}: unknown format {ending!r}; the ending must be .jsonl or .parquet")


def id_field(row: Mapping[str, Any], name: str) -> str:
    """Return an id, given as text or as a whole number.

    Raises:
        FieldError: It is missing, empty or of another type.
    """
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text_field(row, name)


def text_field(row: Mapping[str, Any], name: str) -> str:
    """Return a text that must be there.

    Raises:
        FieldError: It is missing, empty, no text, or holds half a surrogate pair.
    """
    if row.get(name) is None:
        raise FieldError(f"field {name!r} is missing")
    text = optional_text_field(row, name)
    if not text.strip():
        raise FieldError(f"field {name!r} is empty")
    return text


def optional_text_field(row: Mapping[str, Any], name: str) -> str:
    """Return a text, empty when it is missing or null.

    Raises:
        FieldError: It is no text, or holds half a surrogate pair.
    """
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FieldError(f"field {name!r} must be text, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise FieldError(f"field {name!r} holds half a surrogate pair, which is no text") from None
    return value


def _json_rows(path: str, file: Path) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, _json_row(path, number, line)
    except OSError as error:
        raise KpodError(f"{path} can't be read: {error.strerror}") from error


def _json_row(path: str, number: int, line: bytes) -> dict[str, Any] | BadRow:
    try:
        row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        return BadRow(path, number, f"not UTF-8 at byte {error.start + 1} of the line")
    except json.JSONDecodeError as error:
        return BadRow(path, number, f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:  # a number of 5000 digits, 10000 brackets
        return BadRow(path, number, f"not JSON that can be read: {error}")
    if not isinstance(row, dict):
        return BadRow(path, number, f"not an object but {type(row).__name__}")
    return row


def _parquet_rows(path: str, file: Path) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    number = 0
    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(_BATCH_ROWS):
                for row in _batch_rows(path, number + 1, batch):
                    number += 1
                    yield number, row
    except (OSError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise KpodError(f"{path} can't be read as Parquet: {reason}") from error


def _batch_rows(path: str, first: int, batch: pa.RecordBatch) -> Iterator[dict[str, Any] | BadRow]:
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            yield _batch_row(path, first + index, batch.slice(index, 1))


def _batch_row(path: str, number: int, batch: pa.RecordBatch) -> dict[str, Any] | BadRow:
    try:
        row: dict[str, Any] = batch.to_pylist()[0]
    except UnicodeDecodeError:
        return BadRow(path, number, "not UTF-8")
    return row
