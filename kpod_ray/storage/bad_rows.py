"""Rows of the user's files that can't be used, and the place of a row in its file."""

from __future__ import annotations

import dataclasses


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


def place(path: str, line: int) -> str:
    """Return the place of a row for a message, such as ``a.jsonl line 3`` or ``a.parquet row 3``.

    A path that doesn't end in ``.jsonl``, or the name of another source, gives ``row``. Lines and rows
    are counted from 1.
    """
    return f"{path} {'line' if path.lower().endswith('.jsonl') else 'row'} {line}"
