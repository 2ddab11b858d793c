"""Which rows are with the service at the same time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class SharedExclusiveLock:
    """Lets many rows through together, or a few with nobody else beside them.

    Who wants to be alone waits for those inside to leave, and those who come later wait for him.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Condition()
        self.num_inside = self.num_waiting_alone = 0
        self.is_alone = False

    @contextlib.asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Be inside with others."""
        async with self.changed:
            await self.changed.wait_for(lambda: not self.is_alone and not self.num_waiting_alone)
            self.num_inside += 1
        try:
            yield
        finally:
            async with self.changed:
                self.num_inside -= 1
                self.changed.notify_all()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Be inside with nobody else."""
        async with self.changed:
            self.num_waiting_alone += 1
            try:
                await self.changed.wait_for(lambda: not self.is_alone and not self.num_inside)
            finally:
                self.num_waiting_alone -= 1
                self.changed.notify_all()
            self.is_alone = True
        try:
            yield
        finally:
            async with self.changed:
                self.is_alone = False
                self.changed.notify_all()


class CapacityLimiter:
    """Lets a block of rows in when those under way leave room for it.

    A block gives its room back row by row: while it waits for its longest, others fill the engine.

    Args:
        num_rows: under way at the same time at most; a block that is larger comes in alone.
    """

    def __init__(self, num_rows: int) -> None:
        self.num_rows, self.num_inside = num_rows, 0
        self.changed = asyncio.Condition()

    async def enter(self, num_rows: int) -> None:
        """Wait until there is room for so many rows, and take it."""
        async with self.changed:
            await self.changed.wait_for(
                lambda: not self.num_inside or self.num_inside + num_rows <= self.num_rows
            )
            self.num_inside += num_rows

    async def leave(self) -> None:
        """Give back the room of one row."""
        async with self.changed:
            self.num_inside -= 1
            self.changed.notify_all()
