"""Write finished completions to files in small groups, so that the death of an actor loses few rows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from kpod_ray.inference.records import Completion
from kpod_ray.storage.store import Store

MAX_SECONDS = 30.0
"""Longest time in seconds that a finished row waits for further rows of its file."""
OnWritten = Callable[[str, Sequence[str]], Awaitable[None]]
"""Callback after a file is written: the name of the file and the ids of its rows."""


class CompletionWriter:
    """Writes completions to new files of a folder, each as an atomic write.

    An instance belongs to one event loop. After the last `add`, the caller awaits `flush`.

    Args:
        folder: folder of the files, relative to the store's root.
        run: prefix of the names of the files, before a hyphen and a random part.
        num_rows: number of waiting rows at which a file is written, at least 1.
        on_written: called after each file is written; the next file is written without waiting for the
            end of the call. `flush` waits for all calls that are running.
        max_seconds: longest time in seconds that a row waits before its file is written.
    """

    def __init__(
        self,
        store: Store,
        folder: str,
        run: str,
        num_rows: int,
        on_written: OnWritten,
        max_seconds: float = MAX_SECONDS,
    ) -> None:
        self.store = store
        self.folder = folder
        self.run = run
        self.num_rows = num_rows
        self.on_written = on_written
        self.max_seconds = max_seconds
        self.rows: list[Completion] = []
        self.writing = asyncio.Lock()
        self.callbacks = set[asyncio.Future[None]]()
        self.timer: asyncio.Task[None] | None = None

    async def add(self, row: Completion) -> None:
        """Add a row; if ``num_rows`` rows are waiting, `flush`, else return before the row is written.

        A background task calls `flush` at most ``max_seconds`` later. After the last row, the caller
        awaits `flush`. The errors of `flush` are raised, too.
        """
        self.rows.append(row)
        if len(self.rows) >= self.num_rows:
            await self.flush()
        elif self.timer is None or self.timer.done():
            self._check_timer()
            self.timer = asyncio.create_task(self._flush_later())

    async def flush(self) -> None:
        """Write all waiting rows to one file, and wait until ``on_written`` is done for all files.

        Without a waiting row no file is written. Rows that another call is writing are waited for, too.

        Raises:
            OSError: The file can't be written, and its rows are lost; or an earlier file couldn't be
                written in the background. An exception of ``on_written`` passes on in the same ways.
        """
        # The lock also waits for a concurrent call that is writing rows added before this call.
        async with self.writing:
            self._check_timer()
            rows, self.rows = self.rows, []  # no await in between: each row is taken once
            if rows:
                table = Completion.to_table(rows)
                prefix = f"{self.run}-"
                part = await asyncio.to_thread(self.store.add_part, self.folder, table, prefix)
                callback = asyncio.ensure_future(self.on_written(part, [row.id for row in rows]))
                self.callbacks.add(callback)
                callback.add_done_callback(self.callbacks.discard)
        await asyncio.gather(*self.callbacks)

    async def _flush_later(self) -> None:
        await asyncio.sleep(self.max_seconds)
        await self.flush()

    def _check_timer(self) -> None:
        """Raise the exception of the last timed flush, which nobody awaits."""
        is_over = self.timer is not None and self.timer.done() and not self.timer.cancelled()
        if self.timer is not None and is_over:
            self.timer.result()
