import asyncio

from hypothesis import given
from hypothesis import strategies as st

from kpod_ray.inference.concurrency import CapacityLimiter, SharedExclusiveLock


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=12))
def test_who_is_alone_has_nobody_beside_him_and_everybody_gets_in(visitors):
    inside, seen = [], []

    async def visit(lock, number, wants_alone, turns):
        async with lock.alone() if wants_alone else lock.together():
            inside.append(number)
            for _ in range(turns + 1):
                seen.append((number, wants_alone, len(inside)))
                await asyncio.sleep(0)
            inside.remove(number)

    async def main():
        lock = SharedExclusiveLock()
        visits = (visit(lock, i, *visitor) for i, visitor in enumerate(visitors))
        await asyncio.wait_for(asyncio.gather(*visits), timeout=10)

    asyncio.run(main())
    assert all(count == 1 for _, wants_alone, count in seen if wants_alone)
    assert {number for number, _, _ in seen} == set(range(len(visitors)))


def test_many_are_inside_together_and_late_ones_wait_for_who_wants_to_be_alone():
    order = []

    async def visit(door, name):
        async with door:
            order.append(f"{name} in")
            await asyncio.sleep(0.01)
            order.append(f"{name} out")

    async def main():
        lock = SharedExclusiveLock()
        first = [asyncio.create_task(visit(lock.together(), name)) for name in "ab"]
        await asyncio.sleep(0.001)
        alone = asyncio.create_task(visit(lock.alone(), "X"))
        await asyncio.sleep(0.001)
        late = asyncio.create_task(visit(lock.together(), "c"))
        await asyncio.gather(*first, alone, late)

    asyncio.run(main())
    assert order == [
        *("a in", "b in", "a out", "b out"),
        *("X in", "X out", "c in", "c out"),
    ]


def test_an_error_inside_opens_the_gate_again():
    async def main():
        lock = SharedExclusiveLock()
        for door in (lock.together, lock.alone):
            try:
                async with door():
                    raise ValueError
            except ValueError:
                pass
        async with asyncio.timeout(1), lock.alone():
            return True

    assert asyncio.run(main())


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 12))
def test_rows_in_a_room_are_never_too_many_and_every_block_gets_in(blocks, num_rows):
    entered = []

    async def visit(limiter, size):
        await limiter.enter(size)
        entered.append(size)
        assert limiter.num_inside <= max(num_rows, size)
        for _ in range(size):
            await asyncio.sleep(0)
            await limiter.leave()

    async def main():
        limiter = CapacityLimiter(num_rows)
        async with asyncio.timeout(10):
            await asyncio.gather(*(visit(limiter, size) for size in blocks))
        return limiter.num_inside

    assert asyncio.run(main()) == 0
    assert sorted(entered) == sorted(blocks)


def test_a_block_comes_in_as_soon_as_rows_of_another_have_left():
    async def main():
        limiter = CapacityLimiter(5)
        await limiter.enter(4)
        second = asyncio.create_task(limiter.enter(3))
        await asyncio.sleep(0.001)
        waited = not second.done()
        await limiter.leave()
        await limiter.leave()
        await second
        return waited, limiter.num_inside

    assert asyncio.run(main()) == (True, 5)
