"""What has become of the rows under way, kept outside the processes that may die with them.

Rows that were under way when an engine died are tried again: first a few at a time, then each alone,
so that one that kills the engine is found, and set aside after three tries alone. Rows that were
written before the death are known by the files, and not done again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from kpod_ray.errors import KpodError
from kpod_ray.storage.artifacts import Store

FINISHED = -1
"""Stands for the number of deaths of a row that needs nothing more."""
FEW = 8
"""Rows tried together after the first death."""
TRIES_ALONE = 3
MOST_DEATHS = 2 + TRIES_ALONE
"""A row that was under way in so many deaths is set aside: among many, among few, and alone."""
MOST_STARTS = 10
"""Starts in a row without any row written, for each engine, before the run is given up."""


@dataclasses.dataclass
class _Block:
    deaths: dict[str, int]
    under_way: set[str] = dataclasses.field(default_factory=set)


class AttemptTracker:
    """The open blocks of one run. Losing it costs rows done twice, never a wrong result.

    Args:
        store: where the completions are written.
        folder: of the files.
        run: start of the names of the files that this run writes.
        num_engines: most engines at the same time.
    """

    def __init__(self, store: Store, folder: str, run: str, num_engines: int) -> None:
        self.store, self.folder, self.run = store, folder, run
        self.starts_left = self.most_starts = num_engines * MOST_STARTS
        self.blocks: dict[str, _Block] = {}
        self.parts: set[str] = set()
        self.written_ids: set[str] = set()
        self.processes: dict[str, dict[int, float]] = {}
        self._read_unknown_parts()

    def starts(self) -> None:
        """Note that an engine is about to start.

        Raises:
            KpodError: Engines die again and again, and nothing is written.
        """
        self.starts_left -= 1
        if self.starts_left < 0:
            raise KpodError(
                f"the engine died {self.most_starts} times and wrote no row in between; look for "
                "its error above, and give it more memory or a smaller max_model_len"
            )

    def started(self, node: str, processes: Mapping[int, float]) -> None:
        """Note the processes of an engine on a node: their start times by their ids."""
        self.processes.setdefault(node, {}).update(processes)

    def begin(self, ids: Sequence[str]) -> list[int]:
        """Open a block, again if it was open when its engine died.

        Returns:
            For each id the deaths it was under way in, or `FINISHED`.
        """
        block = self.blocks.get(ids[0])
        if block is None:
            block = self.blocks[ids[0]] = _Block(dict.fromkeys(ids, 0))
        else:
            self._read_unknown_parts()
            for row_id in block.under_way - self.written_ids:
                block.deaths[row_id] += 1
            block.under_way.clear()
        return [FINISHED if i in self.written_ids else block.deaths[i] for i in ids]

    def under_way(self, key: str, ids: Sequence[str]) -> None:
        """Note that these rows, and no others of their block, are with the engine from now on."""
        self.blocks.setdefault(key, _Block(dict.fromkeys(ids, 0))).under_way = set(ids)

    def written(self, part: str, ids: Sequence[str]) -> None:
        """Note that a file holds these rows."""
        self.parts.add(part)
        self.written_ids.update(ids)
        self.starts_left = self.most_starts

    def close(self, keys: Iterable[str]) -> None:
        """Forget blocks whose rows are all written, and that nobody will begin again."""
        for key in keys:
            block = self.blocks.pop(key, None)
            if block is not None:
                self.written_ids.difference_update(block.deaths)

    def seen_processes(self) -> dict[str, dict[int, float]]:
        """Return the processes of all engines that ever started, by node."""
        return self.processes

    def _read_unknown_parts(self) -> None:
        """Learn of files that were written by an engine which died before it could tell."""
        for part in self.store.files(self.folder):
            if part.startswith(self.run) and part not in self.parts:
                table = self.store.read_table(f"{self.folder}/{part}", ["id"])
                self.written(part, table["id"].to_pylist())
