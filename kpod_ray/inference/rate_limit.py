"""How fast an endpoint may be asked: requests at once, requests and tokens a minute, and pauses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_MINUTE = 60.0
_SLACK = 0.01
"""Share of a minute by which requests may catch up after a late wake-up; the pace makes up for it."""


class Rate:
    """Spaces out what is used, by the times at which it really was.

    Unless something is given back, what is used in any minute, but for its last use, is less than the
    share: of requests, which count one each, never more than the share.

    Args:
        per_minute: units that a minute allows.
    """

    def __init__(self, per_minute: float) -> None:
        self.slack = _SLACK * _MINUTE
        self.seconds_per_unit = (_MINUTE + self.slack) / per_minute
        self.free_at = 0.0
        """Time of the event loop from which on something may be used."""

    def use(self, num_units: float, now: float) -> None:
        """Use units, not before `free_at`."""
        self.free_at = max(self.free_at, now - self.slack) + num_units * self.seconds_per_unit

    def give_back(self, num_units: float) -> None:
        """Allow units again that weren't used after all; a negative number takes more."""
        self.free_at -= num_units * self.seconds_per_unit


class Pacing:
    """Lets requests go, one after the other, within the limits. Lives in one event loop.

    Args:
        max_concurrent: requests under way at the same time.
        requests_per_minute: requests that may be sent in a minute; None for no limit.
        tokens_per_minute: tokens that may be asked for in a minute; None for no limit.
    """

    def __init__(
        self, max_concurrent: int, requests_per_minute: int | None, tokens_per_minute: int | None
    ) -> None:
        self.places, self.first = asyncio.Semaphore(max_concurrent), asyncio.Lock()
        self.requests = Rate(requests_per_minute) if requests_per_minute else None
        self.tokens = Rate(tokens_per_minute) if tokens_per_minute else None
        self.paused_until = 0.0
        self.given_back = asyncio.Event()

    @contextlib.asynccontextmanager
    async def turn(self, num_tokens: int) -> AsyncIterator[None]:
        """Wait for a place, for the rates and for the end of a pause; hold the place inside.

        Args:
            num_tokens: that the request may use, prompt and answer.
        """
        async with self.places:
            async with self.first:
                now = await self._until_free()
                if self.requests is not None:
                    self.requests.use(1, now)
                if self.tokens is not None:
                    self.tokens.use(num_tokens, now)
            yield

    def used(self, expected_tokens: int, num_tokens: int) -> None:
        """Correct what a request was expected to use by what it did."""
        if self.tokens is not None:
            self.tokens.give_back(expected_tokens - num_tokens)
            self.given_back.set()

    def pause(self, seconds: float) -> None:
        """Send nothing for so long, since the server asks for it."""
        until = asyncio.get_running_loop().time() + seconds
        self.paused_until = max(self.paused_until, until)

    async def _until_free(self) -> float:
        """Wait until the next request may go; return the time that it is then."""
        loop = asyncio.get_running_loop()
        while (wait := self._free_at() - (now := loop.time())) > 0:
            self.given_back.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self.given_back.wait()
        return now

    def _free_at(self) -> float:
        rates = [rate.free_at for rate in (self.requests, self.tokens) if rate is not None]
        return max([self.paused_until, *rates])
