"""Count how often an engine died while it generated a row, and find the rows that kill the engine.

A row is a generation request. The counts are kept in an actor of their own, because the process of a
dead engine loses its memory. Rows that were in flight when an engine died are retried: in groups of
`FEW` after the first death, then each row alone. Rows that were written before a death are found in the
files, and not retried.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from kpod_ray.errors import KpodError
from kpod_ray.storage.store import Store

FINISHED = -1
"""Returned in place of the number of deaths for a row whose completion is written."""
FEW = 8
"""Number of rows that are retried together after their first death."""
TRIES_ALONE = 3
"""Number of times that a row is retried alone."""
MOST_DEATHS = 2 + TRIES_ALONE
"""Number of deaths after which a row becomes an error row: the first with all rows of a block, the
second in a group of `FEW` rows, the others alone."""
MOST_STARTS = 10
"""Number of consecutive starts per engine without a written row after which the run fails."""


@dataclasses.dataclass(frozen=True)
class NextAttempt:
    """How the rows of a block are tried next; rows are given as indices into the block."""

    together: list[int]
    """Rows without a death: all of them are tried at once, beside other blocks' rows."""
    apart: list[list[int]]
    """Groups of rows that may have killed an engine; while a group is tried, no other row is."""
    failed: list[int]
    """Rows that become error rows."""


def next_attempt(deaths: Sequence[int]) -> NextAttempt:
    """Decide from the deaths of the rows of a block how each row is tried next.

    ``deaths`` is the result of `AttemptTracker.begin`: for each row the number of deaths in which the
    row was in flight, or `FINISHED`.

    Returns:
        Indices into ``deaths``: rows without a death in ``together``; rows with one death in ``apart``,
        in groups of at most `FEW`; rows with more deaths in ``apart``, each as a group of its own; rows
        with `MOST_DEATHS` deaths or more in ``failed``. Finished rows are left out.
    """
    once = [row for row, num_deaths in enumerate(deaths) if num_deaths == 1]
    groups = [once[start : start + FEW] for start in range(0, len(once), FEW)]
    alone = [[row] for row, num_deaths in enumerate(deaths) if 1 < num_deaths < MOST_DEATHS]
    return NextAttempt(
        together=[row for row, num_deaths in enumerate(deaths) if num_deaths == 0],
        apart=groups + alone,
        failed=[row for row, num_deaths in enumerate(deaths) if num_deaths >= MOST_DEATHS],
    )


@dataclasses.dataclass
class _Block:
    """Rows that one actor call processes together."""

    deaths: dict[str, int]
    """Number of deaths in which each row was in flight, by row id."""
    under_way: set[str] = dataclasses.field(default_factory=set)
    """Ids of the rows that the engine is generating."""


class AttemptTracker:
    """Tracks the attempts of all open blocks of one run; deployed as one actor.

    A block is identified by its key, the id of its first row. The constructor reads the ids in the files
    of the folder whose names start with ``run``; only this run may write such files. If the tracker
    itself dies and restarts without its counts, some rows are generated again; the results stay correct.

    Args:
        folder: folder of the completions, relative to the store's root.
        num_engines: largest number of engines at the same time.
    """

    def __init__(self, store: Store, folder: str, run: str, num_engines: int) -> None:
        self.store = store
        self.folder = folder
        self.run = run
        self.most_starts = num_engines * MOST_STARTS
        self.starts_left = self.most_starts
        self.blocks: dict[str, _Block] = {}
        self.parts: set[str] = set()
        self.written_ids: set[str] = set()
        self.processes: dict[str, dict[int, int]] = {}
        self._read_unknown_parts()

    def starts(self) -> None:
        """Count the start of an engine; call it once before each start of an engine, also the first.

        Raises:
            KpodError: ``num_engines * MOST_STARTS`` starts are already counted since the last call of
                `written`, or since the tracker started.
        """
        self.starts_left -= 1
        if self.starts_left < 0:
            raise KpodError(
                f"the engine died {self.most_starts} times and wrote no row in between; look for "
                "its error above, and give it more memory or a smaller max_model_len"
            )

    def started(self, node: str, processes: Mapping[int, int]) -> None:
        """Add the processes of an engine to `seen_processes`; call it after each start of an engine.

        ``node`` is the Ray node id of the engine; ``processes`` maps the process id to the start of the
        process (`scratch.started`).
        """
        self.processes.setdefault(node, {}).update(processes)

    def begin(self, ids: Sequence[str]) -> list[int]:
        """Open a block, or open it again after its engine has died; call it once before each attempt.

        Opening a block again counts one death for each row of the block's last call of `under_way` that
        isn't written. Files of the run that `written` hasn't reported are read first. A closed block
        counts as never opened. ``ids`` are the ids of the block's rows, at least one, the same at every
        call.

        Returns:
            For each row the number of deaths in which the row was in flight, or `FINISHED`.
        """
        block = self.blocks.get(ids[0])
        if block is None:
            block = self.blocks[ids[0]] = _Block(dict.fromkeys(ids, 0))
        else:  # Ray Data repeats the call of a block only if the actor has died
            self._read_unknown_parts()
            for row_id in ids:  # a tracker that has restarted knows only rows of `under_way`
                block.deaths.setdefault(row_id, 0)
            for row_id in block.under_way - self.written_ids:
                block.deaths[row_id] += 1
            block.under_way.clear()
        return [FINISHED if i in self.written_ids else block.deaths[i] for i in ids]

    def under_way(self, key: str, ids: Sequence[str]) -> None:
        """Record that exactly these rows of a block are being generated from now on.

        Call it before the rows are given to the engine: the next call of `begin` for the block counts a
        death for each of these rows that isn't written by then. ``key`` is the id of the block's first
        row; ``ids`` are the ids of some or all of its rows, and replace those of an earlier call for the
        block.
        """
        # The block is unknown if the tracker has restarted since the block was opened.
        self.blocks.setdefault(key, _Block(dict.fromkeys(ids, 0))).under_way = set(ids)

    def written(self, part: str, ids: Sequence[str]) -> None:
        """Record that a file of this run holds the completions of some rows; call it after the write.

        `begin` returns `FINISHED` for the rows until `close` is called for their block. The count of
        `starts` is reset. ``part`` is the name of the file inside the folder, with its ending.
        """
        self.parts.add(part)
        self.written_ids.update(ids)
        self.starts_left = self.most_starts

    def close(self, keys: Iterable[str]) -> None:
        """Forget blocks that won't be opened again, with their deaths and written rows.

        A key is the id of the block's first row; keys of blocks that aren't open are ignored.
        """
        for key in keys:
            block = self.blocks.pop(key, None)
            if block is not None:
                self.written_ids.difference_update(block.deaths)

    def seen_processes(self) -> dict[str, dict[int, int]]:
        """Return the processes that `started` has recorded, also those that have ended.

        The mapping is Ray node id -> process id -> start of the process (`scratch.started`).
        """
        return self.processes

    def _read_unknown_parts(self) -> None:
        """Read the ids of files that an actor of this run wrote, but didn't report before its death."""
        for part in self.store.files(self.folder):
            if part.startswith(self.run) and part not in self.parts:
                table = self.store.read_table(f"{self.folder}/{part}", ["id"])
                self.written(part, table["id"].to_pylist())
