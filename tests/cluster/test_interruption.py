"""The state of an interruption with and without the actor around it."""

import asyncio
import time

import ray

from kpod_ray.cluster.interruption import Interruption, Listener, ask_to_save


def test_all_work_saves_before_the_answer():
    async def run():
        interruption, order = Interruption(), []

        async def work(name, seconds):
            await interruption.enter(name)
            assert await interruption.wait(name)
            await asyncio.sleep(seconds)
            order.append(name)
            await interruption.leave(name, f"{name} is kept")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(work("b", 0.2))
            tasks.create_task(work("a", 0.1))
            await asyncio.sleep(0.05)
            kept = await interruption.ask()
        return kept, order

    kept, order = asyncio.run(run())
    assert order == ["a", "b"]
    assert kept == ["a is kept", "b is kept"]


def test_work_that_has_ended_is_not_asked_and_not_waited_for():
    async def run():
        interruption = Interruption()
        for i in range(3):
            await interruption.enter(f"run/{i}")
        waiting = [asyncio.create_task(interruption.wait(f"run/{i}")) for i in range(3)]
        await asyncio.sleep(0)
        await interruption.leave("run/")
        answers = await asyncio.gather(*waiting)
        return answers, await asyncio.wait_for(interruption.ask(), 1)

    assert asyncio.run(run()) == ([False, False, False], [])


def test_work_whose_call_to_wait_is_still_on_its_way_is_waited_for():
    async def run():
        interruption = Interruption()
        await interruption.enter("work")
        asked = asyncio.create_task(interruption.ask())
        await asyncio.sleep(0.05)
        is_answered_early = asked.done()
        assert await interruption.wait("work")
        await interruption.leave("work", "kept")
        return is_answered_early, await asyncio.wait_for(asked, 1)

    assert asyncio.run(run()) == (False, ["kept"])


def test_work_that_begins_while_the_command_ends_is_asked_at_once():
    async def run():
        interruption = Interruption()
        await interruption.ask()
        await interruption.enter("late")
        return await asyncio.wait_for(interruption.wait("late"), 1)

    assert asyncio.run(run())


def test_without_ray_nobody_asks():
    with Listener("work") as listener:
        assert not listener.is_asked()
        listener.saved("5 of 8")
    assert not asyncio.run(listener.wait())
    assert ask_to_save(1) == []


def test_the_work_of_one_process_has_one_actor_that_lives_on(ray_cluster):
    listeners = [Listener(f"work {i}") for i in range(3)]
    time.sleep(1)  # Ray ends an actor without a handle after a moment
    for listener in listeners:
        with listener:
            assert ray.get(listener.actor.wait.remote("unknown")) is False
            assert not listener.is_asked()
    assert len({listener.actor for listener in listeners}) == 1
