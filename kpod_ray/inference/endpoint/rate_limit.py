"""Rate limits of an endpoint: concurrent requests, requests and tokens per minute, and pauses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_MINUTE = 60.0
_SLACK = 0.01
"""Fraction of a minute by which uses may catch up after the event loop woke up late. The time per unit
is longer by the same fraction, so that the limit still holds."""


class Rate:
    """Spaces out the uses of a limited quantity, such as requests or tokens, by their actual times.

    Invariant, as long as no units are given back: the units used within any minute, without the last
    use, are fewer than ``per_minute``, which is over 0. If every use is one unit, at most ``per_minute``
    units are therefore used within any minute.
    """

    def __init__(self, per_minute: float) -> None:
        self.slack = _SLACK * _MINUTE
        self.seconds_per_unit = (_MINUTE + self.slack) / per_minute
        self.free_at = 0.0
        """Earliest time of the next use, in seconds of the event loop's clock."""

    def use(self, num_units: float, now: float) -> None:
        """Record that units are used, and move `free_at` accordingly; the call doesn't wait.

        ``num_units`` may be more than ``per_minute``. ``now`` is the time of the use in seconds of the
        event loop's clock, and not before `free_at`.
        """
        self.free_at = max(self.free_at, now - self.slack) + num_units * self.seconds_per_unit

    def give_back(self, num_units: float) -> None:
        """Return units of earlier calls of `use` that weren't used after all; `free_at` moves back.

        A negative number records that more units were used.
        """
        self.free_at -= num_units * self.seconds_per_unit


class Pacing:
    """Delays requests so that the limits of an endpoint hold. An instance belongs to one event loop.

    Args:
        max_concurrent: largest number of requests in flight, at least 1.
        requests_per_minute: None or 0 for no limit.
        tokens_per_minute: tokens of prompts and generated texts together; None or 0 for no limit.
    """

    def __init__(
        self, max_concurrent: int, requests_per_minute: int | None, tokens_per_minute: int | None
    ) -> None:
        self.slots = asyncio.Semaphore(max_concurrent)
        self.queue = asyncio.Lock()  # held by the request that is sent next
        self.requests = Rate(requests_per_minute) if requests_per_minute else None
        self.tokens = Rate(tokens_per_minute) if tokens_per_minute else None
        self.paused_until = 0.0
        self.given_back = asyncio.Event()

    @contextlib.asynccontextmanager
    async def turn(self, num_tokens: int) -> AsyncIterator[None]:
        """Return an async context that waits until a request may be sent; the request is sent inside.

        The request counts as in flight inside the context. Requests are sent in the order in which their
        contexts are entered. The request and its ``num_tokens``, the largest number of tokens of prompt
        and generated text together, count against the rates as soon as the wait ends, also if the
        request fails; `used` corrects the number of tokens.
        """
        async with self.slots:
            async with self.queue:  # requests are sent in the order of their calls
                now = await self._until_free()
                if self.requests is not None:
                    self.requests.use(1, now)
                if self.tokens is not None:
                    self.tokens.use(num_tokens, now)
            yield

    def used(self, expected_tokens: int, num_tokens: int) -> None:
        """Replace the expected number of tokens of a finished request by the actual number.

        Call it at most once for each request, after its `turn`. Without a call, the expected number
        stays counted. ``expected_tokens`` is the number given to `turn`, ``num_tokens`` the tokens of
        the prompt and the generated text that the server reports.
        """
        if self.tokens is not None:
            self.tokens.give_back(expected_tokens - num_tokens)
            self.given_back.set()

    def pause(self, seconds: float) -> None:
        """Send no request for ``seconds`` from now, or until the end of an earlier, longer pause.

        Requests that wait in `turn` are held back, too; requests in flight aren't. Call it inside the
        event loop.
        """
        until = asyncio.get_running_loop().time() + seconds
        self.paused_until = max(self.paused_until, until)

    async def _until_free(self) -> float:
        """Wait until the next request may be sent; return the time of the event loop's clock then."""
        loop = asyncio.get_running_loop()
        # Tokens that are given back shorten the wait, and a pause lengthens it: so the wait is computed
        # again after each wake-up.
        while (wait := self._free_at() - (now := loop.time())) > 0:
            self.given_back.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self.given_back.wait()
        return now

    def _free_at(self) -> float:
        rates = [rate.free_at for rate in (self.requests, self.tokens) if rate is not None]
        return max([self.paused_until, *rates])
