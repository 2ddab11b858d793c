"""JSON Lines files of tests."""

import json


def write_lines(path, rows):
    """Write rows, given as values or as raw lines, to a file; return its path as text."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def read_lines(path):
    """Return the rows of a file."""
    with path.open() as lines:
        return [json.loads(line) for line in lines]
