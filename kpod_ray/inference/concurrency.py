"""Limits on the rows that a service generates at the same time: a lock and a capacity.

Both classes belong to one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class SharedExclusiveLock:
    """A readers-writer lock for coroutines: many shared holders, or one exclusive holder.

    A waiting exclusive holder has priority over new shared holders. The lock isn't reentrant: a
    coroutine that holds the lock must not ask for it again.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Condition()
        self.num_inside = 0
        self.num_waiting_alone = 0
        self.is_alone = False

    @contextlib.asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Return an async context that waits for the lock, and holds it beside other shared holders.

        The wait lasts while an exclusive holder (`alone`) has the lock or waits for it.
        """
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
        """Return an async context that waits for the lock, and holds it without any other holder.

        New holders of `together` wait from the start of this wait until the lock is released.
        """
        async with self.changed:
            self.num_waiting_alone += 1
            try:
                await self.changed.wait_for(lambda: not self.is_alone and not self.num_inside)
            finally:  # a cancelled wait must let the shared holders in again
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
    """Limits the number of rows in flight; a block takes the capacity for all its rows at once.

    Capacity is released row by row, so that other blocks can start while a block waits for its longest
    row. The limit is ``num_rows``.
    """

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows
        self.num_inside = 0
        self.changed = asyncio.Condition()

    async def enter(self, num_rows: int) -> None:
        """Wait until there is capacity for all ``num_rows`` rows of a block, and take the capacity.

        A block with more rows than the limit waits until no other row is in flight. The caller then
        calls `leave` once for each row. Waiting blocks have no fixed order.
        """
        async with self.changed:
            await self.changed.wait_for(
                lambda: not self.num_inside or self.num_inside + num_rows <= self.num_rows
            )
            self.num_inside += num_rows

    async def leave(self) -> None:
        """Release the capacity of one row; call it once for each row that `enter` took capacity for."""
        async with self.changed:
            self.num_inside -= 1
            self.changed.notify_all()
