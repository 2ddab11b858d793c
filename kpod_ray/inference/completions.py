"""Look up completions by their ids in a folder of many small files.

The index is a temporary SQLite file, so the memory doesn't grow with the number of completions.
"""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kpod_ray.errors import KpodError
from kpod_ray.inference.records import Completion
from kpod_ray.storage.store import Store

_FILES_IN_MEMORY = 64
"""Number of completion files whose rows are cached."""
_INDEX_MIB = 16
"""Size of SQLite's page cache in MiB."""
_CREATE = f"""
PRAGMA journal_mode = OFF; PRAGMA cache_size = {-1024 * _INDEX_MIB};
CREATE TABLE completion (id TEXT PRIMARY KEY, file INT, row INT, is_error INT) WITHOUT ROWID;
"""
_ADD = """
INSERT INTO completion VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE
SET file = excluded.file, row = excluded.row, is_error = excluded.is_error
WHERE excluded.is_error < completion.is_error
"""
_FIND = """
SELECT wanted.value, file, row, is_error FROM json_each(?) AS wanted
LEFT JOIN completion ON completion.id = wanted.value ORDER BY wanted.key
"""


class CompletionIndex:
    """Index of all completions of a folder by their ids, error rows included.

    The constructor calls `refresh`, whose errors pass on. ``len()`` is the number of ids. If several
    completions have the same id, a completion without an error takes precedence over an error row; among
    equals, the file that was indexed first (one call indexes in the order of names). An instance is used
    only in the thread that created it, and can't be pickled.

    Args:
        store: store of the completions.
        folder: folder of the completion files, relative to the store's root; may be missing. All of its
            files are Parquet files of `Completion` rows, which aren't changed or deleted.
    """

    def __init__(self, store: Store, folder: str) -> None:
        self.store = store
        self.folder = folder
        self.files = list[str]()
        # The empty name is a temporary file that SQLite deletes when the connection is closed.
        self.database = sqlite3.connect("")
        self.database.executescript(_CREATE)
        self._rows = functools.lru_cache(_FILES_IN_MEMORY)(self._read)
        self.refresh()

    def __len__(self) -> int:
        return int(self.database.execute("SELECT COUNT(*) FROM completion").fetchone()[0])

    def refresh(self) -> None:
        """Index the files of the folder that aren't indexed yet; after an error, discard the instance.

        Raises:
            KpodError: The folder of temporary files has too little space for the index.
            pa.ArrowInvalid: A file is no Parquet file, or lacks the columns of a completion.
        """
        indexed = set(self.files)
        try:
            with self.database:
                for file in self.store.files(self.folder):
                    if file not in indexed:
                        self._add(file)
        except sqlite3.OperationalError as error:
            raise KpodError(
                f"the index of {self.folder} can't be kept in the folder of temporary files: {error}; "
                "free some space there, or set TMPDIR"
            ) from error

    def has(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return for each id whether the index has a completion without an error, bool [number of ids].

        No file is read, and completions that were written since the last `refresh` aren't found. The ids
        may have any order and repeat.
        """
        found = self.database.execute(_FIND, [json.dumps(ids)])
        return np.array([is_error == 0 for _, _, _, is_error in found], np.bool_)

    def find(self, ids: Sequence[str]) -> list[Completion]:
        """Return the completions of some ids, error rows included, in the order of the ids.

        The rows are read from the files; the last 64 files are cached. Completions that were written
        since the last `refresh` aren't found. The ids may have any order and repeat.

        Raises:
            KeyError: An id has no completion.
        """
        # The ids are passed as one JSON array: SQLite limits the number of parameters of a statement.
        completions = []
        for row_id, file, row, _ in self.database.execute(_FIND, [json.dumps(ids)]):
            if file is None:
                raise KeyError(row_id)
            completions.append(self._rows(file)[row])
        return completions

    def _add(self, file: str) -> None:
        """Add the rows of one file to the index; only two columns of the file are read."""
        table = self.store.read_table(f"{self.folder}/{file}", ["id", "finish_reason"])
        number = len(self.files)
        self.files.append(file)
        columns = zip(table["id"].to_pylist(), table["finish_reason"].to_pylist(), strict=True)
        rows = ((i, number, row, reason == "error") for row, (i, reason) in enumerate(columns))
        self.database.executemany(_ADD, rows)

    def _read(self, file: int) -> list[Completion]:
        """Return the completions of a file, given by its position in ``files``."""
        table: pa.Table = self.store.read_table(f"{self.folder}/{self.files[file]}")
        return Completion.from_table(table)
