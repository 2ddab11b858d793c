"""Read rows and fields of the user's JSON Lines, JSON, CSV, TSV and Parquet files.

Errors name the file, the line and the field. A row that can't be read becomes a `BadRow` and no
exception, so that the caller decides how many bad rows are tolerated. Memory doesn't grow with the file,
except for JSON.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kpod_ray.errors import KpodError
from kpod_ray.storage.arrow_files import csv_rows, parquet_rows
from kpod_ray.storage.bad_rows import BadRow
from kpod_ray.storage.filesystems import local_path
from kpod_ray.storage.json_files import json_line_rows, json_rows

_Reader = Callable[[str, Path], Iterator[tuple[int, dict[str, Any] | BadRow]]]
_READERS: Mapping[str, _Reader] = {
    ".jsonl": json_line_rows,
    ".json": json_rows,
    ".csv": functools.partial(csv_rows, delimiter=","),
    ".tsv": functools.partial(csv_rows, delimiter="\t"),
    ".parquet": parquet_rows,
}
"""Ending of a file -> function that reads the rows, from the path as the user named it and the file."""


class FieldError(ValueError):
    """An unusable field of a row; the message names the field and says what is wrong."""


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
    """Return an iterator over the rows of a JSON Lines, JSON, CSV, TSV or Parquet file.

    The call checks the path; the iteration opens and reads the file.

    Args:
        path: File that ends in ``.jsonl``, ``.json``, ``.csv``, ``.tsv`` or ``.parquet``, in any case;
            ``~`` is expanded.

    Returns:
        Pairs of a line number (JSON Lines) or row number (other formats), counted from 1, and the row:
        the values by name, or a `BadRow` if the row is no JSON object, has another number of values than
        the CSV file has columns, or is no UTF-8. Blank lines are skipped, but counted in JSON
        Lines. See `json_rows` and `csv_rows` for the forms of these files.

    Raises:
        KpodError: The path doesn't exist, is a folder, or has another ending; or, during the iteration,
            the file can't be read or doesn't have the format of its ending.
    """
    file = checked_file(path)
    ending = file.suffix.lower()
    if ending not in _READERS:
        known = f"{', '.join(list(_READERS)[:-1])} or {list(_READERS)[-1]}"
        raise KpodError(f"{path}: unknown format {ending!r}; the ending must be {known}")
    return _READERS[ending](path, file)


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
