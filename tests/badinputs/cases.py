"""A bad input: a command line, and words that its one line of refusal holds."""

from __future__ import annotations

import dataclasses
import json

from tests.conftest import REPOSITORY

SMOKE = str(REPOSITORY / "configs" / "smoke.yaml")
SWEEP = str(REPOSITORY / "configs" / "sweep-smoke.yaml")
STORE = "storage={folder}/store"


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table. ``{folder}`` in arguments and words is the folder of the test's files."""

    kind: str
    arguments: tuple[str, ...]
    words: tuple[str, ...]
    files: dict[str, bytes | str] = dataclasses.field(default_factory=dict)
    """Name -> content of the files that the test writes into its folder first."""

    def __str__(self) -> str:
        shown = " ".join(self.arguments).replace(f"{REPOSITORY}/", "").replace(STORE, "")
        return f"{self.kind}: {ascii(shown)[1:80]}"


def on(command, *overrides, config=SMOKE, table=()):
    """Return the arguments of a command with a config, overrides and a storage of its own."""
    out = ("{folder}/out.jsonl",) if command == "export" else ()
    return (command, config, *out, *table, STORE, *overrides)


def jsonl(*rows):
    """Return rows as JSON Lines; texts stand as they are."""
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
