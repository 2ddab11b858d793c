"""Finished completions on their way to files: a death costs at most the rows of one file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from kpod_ray.records import Completion
from kpod_ray.storage.artifacts import Store

MAX_SECONDS = 30.0
OnWritten = Callable[[str, Sequence[str]], Awaitable[None]]


class CompletionWriter:
    """Writes completions to new files of a folder, some at a time. Lives in one event loop.

    Args:
        store: where the files are.
        folder: of the files.
        run: start of their names.
        num_rows: a file is written when so many rows wait for it.
        on_written: is told the file and the ids, after the file is there. No other file waits for it.
        max_seconds: how long a finished row waits for others at most.
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
        self.store, self.folder, self.run = store, folder, run
        self.num_rows, self.on_written, self.max_seconds = num_rows, on_written, max_seconds
        self.rows: list[Completion] = []
        self.writing = asyncio.Lock()
        self.telling = set[asyncio.Future[None]]()
        self.timer: asyncio.Task[None] | None = None

    async def add(self, row: Completion) -> None:
        """Take a row; the one that makes a file full writes it.

        Raises:
            OSError: The file can't be written.
        """
        self.rows.append(row)
        if len(self.rows) >= self.num_rows:
            await self.flush()
        elif self.timer is None or self.timer.done():
            self._check_timer()
            self.timer = asyncio.create_task(self._flush_later())

    async def flush(self) -> None:
        """Write what was taken; afterwards all rows taken before the call are in files, and told of.

        Raises:
            OSError: A file can't be written.
        """
        async with self.writing:  # rows that another call took away are written, too
            self._check_timer()
            rows, self.rows = self.rows, []
            if rows:
                table, prefix = Completion.to_table(rows), f"{self.run}-"
                part = await asyncio.to_thread(self.store.add_part, self.folder, table, prefix)
                telling = asyncio.ensure_future(self.on_written(part, [row.id for row in rows]))
                self.telling.add(telling)
                telling.add_done_callback(self.telling.discard)
        await asyncio.gather(*self.telling)

    async def _flush_later(self) -> None:
        await asyncio.sleep(self.max_seconds)
        await self.flush()

    def _check_timer(self) -> None:
        """Raise what the flush by time met."""
        is_over = self.timer is not None and self.timer.done() and not self.timer.cancelled()
        if self.timer is not None and is_over:
            self.timer.result()
