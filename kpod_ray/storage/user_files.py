"""Read rows and fields of the user's JSON Lines and Parquet files.

Errors name the file, the line and the field. A row that can't be read becomes a `BadRow` and no
exception, so that the caller decides how many bad rows are tolerated. Memory doesn't grow with the file.
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
from kpod_ray.storage.filesystems import local_path
from kpod_ray.storage.plain_tables import check_plain

_BATCH_ROWS = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't be used, with the reason. ``str(bad_row)`` is one line for the user."""

    path: str
    """File of the row, as the user named it."""
    line: int
    """Line of a JSON Lines file, or row of any other source; counted from 1."""
    reason: str
    """What is wrong with the row."""

    def __str__(self) -> str:
        return f"{place(self.path, self.line)}: {self.reason}"


class FieldError(ValueError):
    """An unusable field of a row; the message names the field and says what is wrong."""


def place(path: str, line: int) -> str:
    """Return the place of a row for a message, such as ``a.jsonl line 3`` or ``a.parquet row 3``.

    A path that doesn't end in ``.jsonl``, or the name of another source, gives ``row``. Lines and rows
    are counted from 1.
    """
    return f"{path} {'line' if path.lower().endswith('.jsonl') else 'row'} {line}"


def checked_file(path: str) -> Path:
    """Return the path of an existing file, with ``~`` expanded; a relative path stays relative.

    Raises:
        KpodError: The path doesn't exist, or is a folder or no regular file.
    """
    file = local_path(path)
    if file.is_dir():
        raise KpodError(f"{path} is a folder; give the file inside it")
    if not file.is_file():
        raise KpodError(f"file {path} doesn't exist; check the path")
    return file


def file_hash(path: str) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal; ``~`` in the path is expanded.

    Raises:
        KpodError: The path doesn't exist, is a folder, or can't be read.
    """
    try:
        with checked_file(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise KpodError(f"{path} can't be read: {error.strerror}") from error


def read_rows(path: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Return an iterator over the rows of a JSON Lines or Parquet file.

    The call checks the path; the iteration opens and reads the file.

    Args:
        path: File that ends in ``.jsonl`` or ``.parquet``, in any case; ``~`` is expanded.

    Returns:
        Pairs of a line number (JSON Lines) or row number (Parquet), counted from 1, and the row: the
        values by name, or a `BadRow` if the row is no JSON object or no UTF-8. Blank lines are skipped,
        but counted.

    Raises:
        KpodError: The path doesn't exist, is a folder, or has another ending; or, during the iteration,
            the file can't be read or is no Parquet file.
    """
    file = checked_file(path)
    ending = file.suffix.lower()
    if ending == ".jsonl":
        return _json_rows(path, file)
    if ending == ".parquet":
        return _parquet_rows(path, file)
    raise KpodError(f"{path}: unknown format {ending!r}; the ending must be .jsonl or .parquet")


def id_field(row: Mapping[str, Any], name: str) -> str:
    """Return the id in field ``name`` as text, unchanged; the field holds text or an integer.

    Raises:
        FieldError: The field is missing, null, of another type (a boolean, too), only white space, or
            holds half a surrogate pair.
    """
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text_field(row, name)


def text_field(row: Mapping[str, Any], name: str) -> str:
    """Return the text of a required field, unchanged.

    Raises:
        FieldError: The field is missing, null, not text, only white space, or holds half a surrogate
            pair.
    """
    if row.get(name) is None:
        raise FieldError(f"field {name!r} is missing")
    text = optional_text_field(row, name)
    if not text.strip():
        raise FieldError(f"field {name!r} is empty")
    return text


def optional_text_field(row: Mapping[str, Any], name: str) -> str:
    """Return the text of an optional field, unchanged; empty if the field is missing or null.

    Raises:
        FieldError: The field is not text, or holds half a surrogate pair.
    """
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FieldError(f"field {name!r} must be text, not {type(value).__name__}")
    try:
        value.encode()  # JSON escapes can hold half a pair, which no UTF-8 file can store
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
        # Some editors begin a file with a byte order mark.
        row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        return BadRow(path, number, f"not UTF-8 at byte {error.start + 1} of the line")
    except json.JSONDecodeError as error:
        return BadRow(path, number, f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:  # such as a number of 5000 digits, 10000 brackets
        return BadRow(path, number, f"not JSON that can be read: {error}")
    if not isinstance(row, dict):
        return BadRow(path, number, f"not an object but {type(row).__name__}")
    return row


def _parquet_rows(path: str, file: Path) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    number = 0
    try:
        with pq.ParquetFile(file) as parquet:
            check_plain(parquet.schema_arrow, path)
            for batch in parquet.iter_batches(_BATCH_ROWS):
                for row in _batch_rows(path, number + 1, batch):
                    number += 1
                    yield number, row
    except (OSError, OverflowError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise KpodError(f"{path} can't be read as Parquet: {reason}") from error


def _batch_rows(path: str, first: int, batch: pa.RecordBatch) -> Iterator[dict[str, Any] | BadRow]:
    """Yield the rows of a batch; rows with text that is not UTF-8 are yielded as `BadRow`."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:  # raised before the first row: find the bad rows one by one
        for index in range(batch.num_rows):
            yield _batch_row(path, first + index, batch.slice(index, 1))


def _batch_row(path: str, number: int, batch: pa.RecordBatch) -> dict[str, Any] | BadRow:
    try:
        row: dict[str, Any] = batch.to_pylist()[0]
    except UnicodeDecodeError:
        return BadRow(path, number, "not UTF-8")
    return row
