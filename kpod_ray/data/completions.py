"""Completions that lie in many small files, found by their ids.

In memory is one entry for each completion, of 32 bytes, and the files read last.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kpod_ray.artifacts import Store
from kpod_ray.records import Completion

_FILES_IN_MEMORY = 256
_ID = "S24"


class CompletionIndex:
    """Where the completions of a folder are; of several with one id, an error counts last."""

    def __init__(self, store: Store, folder: str) -> None:
        self.store, self.folder, self.files = store, folder, store.files(folder)
        ids, places, errors = [np.empty(0, _ID)], [np.empty((0, 2), np.int32)], [np.empty(0, bool)]
        for number, file in enumerate(self.files):
            table = store.read_table(f"{folder}/{file}", ["id", "finish_reason"])
            rows = np.arange(table.num_rows, dtype=np.int32)
            ids.append(np.array(table["id"].to_pylist(), _ID))
            places.append(np.stack([np.full_like(rows, number), rows], axis=1))
            errors.append(pc.equal(table["finish_reason"], "error").to_numpy())
        all_ids, is_error = np.concatenate(ids), np.concatenate(errors)
        order = np.argsort(is_error, kind="stable")
        self.ids, first = np.unique(all_ids[order], return_index=True)
        self.places, self.is_error = np.concatenate(places)[order][first], is_error[order][first]
        self._rows = functools.lru_cache(_FILES_IN_MEMORY)(self._read)

    def __len__(self) -> int:
        return len(self.ids)

    def has(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return for each id whether its completion is there and no error; [number of ids]."""
        positions = self._positions(ids)
        found = positions >= 0
        found[found] = ~self.is_error[positions[found]]
        return found

    def find(self, ids: Sequence[str]) -> list[Completion]:
        """Return the completions of some ids, in their order.

        Raises:
            KeyError: One isn't there.
        """
        positions = self._positions(ids)
        if np.any(positions < 0):
            raise KeyError(ids[int(np.argmin(positions))])
        places = self.places[positions].tolist()
        return [self._rows(file)[row] for file, row in places]

    def _positions(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the position of every id in the sorted ids, -1 where it is missing."""
        wanted = np.array(ids, _ID)
        if not len(self.ids):
            return np.full(len(wanted), -1)
        positions = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        return np.where(self.ids[positions] == wanted, positions, -1)

    def _read(self, file: int) -> list[Completion]:
        table: pa.Table = self.store.read_table(f"{self.folder}/{self.files[file]}")
        return Completion.from_table(table)
