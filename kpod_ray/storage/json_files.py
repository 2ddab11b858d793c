"""Read the rows of JSON Lines and JSON files; every error of a file names the file in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kpod_ray.errors import KpodError
from kpod_ray.storage.bad_rows import BadRow

JsonRows = Iterator[tuple[int, dict[str, Any] | BadRow]]


def json_line_rows(path: str, file: Path) -> JsonRows:
    """Yield the line number, from 1, and the row, of every line that isn't blank.

    Args:
        path: the file as the user named it, for messages.
        file: the file.

    Raises:
        KpodError: The file can't be read.
    """
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, _line_row(path, number, line)
    except OSError as error:
        raise KpodError(f"{path} can't be read: {error.strerror}") from error


def json_rows(path: str, file: Path) -> JsonRows:
    """Yield the number, from 1, and the row, of every object in a JSON file.

    The file holds a list of objects, or an object in which one value is such a list, as in ``{"data":
    [...]}``, or one object, which is the only row; or lines as a JSON Lines file, whatever its ending
    says, whose blank lines are counted. The file is read as a whole. The arguments are those of
    `json_line_rows`.

    Raises:
        KpodError: The file can't be read, is no UTF-8 or no JSON, or holds several lists of objects.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise KpodError(
            f"{path} can't be read as JSON: not UTF-8 at byte {error.start + 1}; save it as UTF-8"
        ) from error
    except OSError as error:
        raise KpodError(f"{path} can't be read: {error.strerror}") from error
    try:
        content = _parsed(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from json_line_rows(path, file)
            return
        raise KpodError(
            f"{path} can't be read as JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise KpodError(f"{path} can't be read as JSON: {error}") from error
    for number, row in enumerate(_objects(path, content), 1):
        yield number, _checked(path, number, row)


def _objects(path: str, content: Any) -> list[Any]:
    """Return the rows of a JSON file's content."""
    if isinstance(content, list):
        return content
    if not isinstance(content, dict):
        raise KpodError(
            f"{path} holds no list of objects but {type(content).__name__}; write one object a row"
        )
    lists = [name for name, value in content.items() if _is_table(value)]
    if len(lists) > 1:
        raise KpodError(
            f"{path} holds several lists of objects ({', '.join(lists)}); write a file for each"
        )
    is_row = not lists or lists[0].lower() in _CONVERSATIONS
    rows: list[Any] = [content] if is_row else content[lists[0]]
    return rows


_CONVERSATIONS = ("messages", "conversations", "conversation")
"""Lists of objects that belong to one row."""


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _line_row(path: str, number: int, line: bytes) -> dict[str, Any] | BadRow:
    try:
        # Some editors begin a file with a byte order mark.
        row = _parsed(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        return BadRow(path, number, f"not UTF-8 at byte {error.start + 1} of the line")
    except json.JSONDecodeError as error:
        return BadRow(path, number, f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:  # such as a number of 5000 digits, 10000 brackets
        return BadRow(path, number, f"not JSON that can be read: {error}")
    return _checked(path, number, row)


def _parsed(text: str) -> Any:
    """Return the value of a JSON text; raise a ValueError if it is none, or gives a key twice."""
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; `json` alone would keep the last of two equal keys without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} is given twice in one object")
    return found


def _checked(path: str, number: int, row: Any) -> dict[str, Any] | BadRow:
    if isinstance(row, dict):
        return row
    return BadRow(path, number, f"not an object but {type(row).__name__}")
