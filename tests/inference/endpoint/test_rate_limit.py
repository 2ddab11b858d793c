"""No more requests and tokens a minute than allowed, and no fewer: on a clock that is not waited for."""

import asyncio
import random
import selectors
import time

import pytest

from kpod_ray.inference.endpoint.rate_limit import Pacing
from tests.inference.endpoint.asked import asked
from tests.inference.endpoint_server import EndpointServer


class Skipping(selectors.SelectSelector):
    """Where a loop would wait, it is later at once."""

    now = 0.0

    def select(self, timeout=None):
        assert timeout is not None, "nothing will ever happen"
        self.now += timeout
        return super().select(0)


class Clock(asyncio.SelectorEventLoop):
    """A loop whose minutes take no time, and whose machine stalls when told."""

    def __init__(self):
        self.skipping = Skipping()
        super().__init__(self.skipping)

    def time(self):
        return self.skipping.now

    def stall(self, seconds):
        self.skipping.now += seconds


def simulated(main):
    with asyncio.Runner(loop_factory=Clock) as runner:
        return runner.run(main())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("limits", [(20, None), (None, 3000), (20, 3000)])
def test_limits_hold_over_any_minute_whatever_stalls_or_pauses(seed, limits):
    rng, begun, pauses = random.Random(seed), [], []

    async def main():
        pacing, loop = Pacing(30, *limits), asyncio.get_running_loop()

        async def request():
            await asyncio.sleep(rng.uniform(0, 300))
            tokens = rng.choice([10, 100, 1000])
            async with pacing.turn(tokens):
                begun.append((loop.time(), tokens))
                await asyncio.sleep(rng.expovariate(0.1))
            if rng.random() < 0.1:
                loop.stall(rng.uniform(0, 90))
            if rng.random() < 0.1:
                seconds = rng.uniform(0, 90)
                pauses.append((len(begun), loop.time() + seconds))
                pacing.pause(seconds)

        await asyncio.gather(*(request() for _ in range(200)))

    simulated(main)
    assert len(begun) == 200
    most_requests, most_tokens = limits
    for start, _ in begun:
        window = [tokens for at, tokens in begun if start <= at < start + 60 - 1e-6]
        assert most_requests is None or len(window) <= most_requests
        assert most_tokens is None or sum(window[:-1]) <= most_tokens
    for num_before, until in pauses:
        assert all(at >= until for at, _ in begun[num_before:])


def test_a_limit_is_used_to_the_full_though_every_wait_ends_late():
    async def main():
        pacing, loop = Pacing(30, 600, None), asyncio.get_running_loop()
        for _ in range(1200):
            async with pacing.turn(1):
                loop.stall(0.05)
        return loop.time()

    assert 118 < simulated(main) < 122


def test_tokens_that_were_not_used_are_given_back_to_those_who_wait():
    begun = []

    async def main():
        pacing, loop = Pacing(4, None, 1000), asyncio.get_running_loop()

        async def request():
            async with pacing.turn(500):
                begun.append(loop.time())
                await asyncio.sleep(1)
            pacing.used(500, 50)

        await asyncio.gather(*(request() for _ in range(101)))

    simulated(main)
    assert 295 < begun[-1] < 310  # 100 times 50 tokens, 1000 a minute
    for start in begun:
        assert 50 * sum(start <= at < start + 60 for at in begun) <= 1000 + 50


@pytest.mark.parametrize(
    "limit", [{"requests_per_minute": 60}, {"tokens_per_minute": 60 * (11 // 4 + 256)}]
)
def test_requests_are_spaced_out_also_where_the_server_counts_no_tokens(limit):
    reply = {"choices": [{"message": {"content": "5"}, "finish_reason": "stop"}]}
    with EndpointServer(lambda number, body: (200, {}, reply)) as server:
        begun = time.monotonic()
        asked(server, num=4, **limit)
    times = sorted(seen["time"] - begun for seen in server.seen)
    assert all(at >= i - 0.6 for i, at in enumerate(times))
