"""Run a function on many arguments in Ray actors, a limited number at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kpod_ray.cluster.placement import own_node

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class FunctionRunner(Generic[Argument, Result]):
    """Calls a function with one argument after another; `run_tasks` makes actors of it."""

    def __init__(self, function: Callable[[Argument], Result]) -> None:
        self.function = function

    def run(self, argument: Argument) -> Result:
        """Return the function's result."""
        return self.function(argument)


def run_tasks(
    function: Callable[[Argument], Result], arguments: Sequence[Argument], max_concurrent: int
) -> Generator[tuple[int, Result], None, None]:
    """Yield the index of an argument and its result, in the order in which the calls finish.

    Each call runs in an actor, never in a normal Ray task. When the caller stops early or a call
    fails, the other calls must end, and an actor can be killed. A normal task could only be
    cancelled, and `ray.cancel` aborts the whole driver process if the task ends at the same moment
    (Ray 2.60; ray-project/ray PR 54798 fixed only some of the cases).

    When an actor is killed, Ray ends the actors that its call has started. The placement group of a
    Ray Train ``fit`` is freed only if Ray has a dashboard (see `connect_with_dashboard`), otherwise
    when the driver ends.

    Args:
        function: runs in a process on the node of the caller; may use Ray itself.
            The call reserves no resources; whatever the function starts reserves its own.
        arguments: one call each, started in this order.
        max_concurrent: most calls at the same time, at least 1.

    Raises:
        Exception: What a call raised. The calls under way are killed.
    """
    here = NodeAffinitySchedulingStrategy(own_node(), soft=False)
    actor_class: Any = ray.remote(FunctionRunner).options(num_cpus=0, scheduling_strategy=here)
    actors = [actor_class.remote(function) for _ in arguments[:max_concurrent]]
    idle, waiting = list(actors), deque(enumerate(arguments))
    running: dict[ray.ObjectRef, tuple[int, Any]] = {}
    try:
        while waiting or running:
            while waiting and idle:
                index, argument = waiting.popleft()
                actor = idle.pop()
                running[actor.run.remote(argument)] = index, actor
            (done,), _ = ray.wait(list(running), num_returns=1)
            index, actor = running.pop(done)
            result: Result = ray.get(done)
            idle.append(actor)
            yield index, result
    finally:
        if ray.is_initialized():  # else the actors are gone, and ray.kill would start a new Ray
            for actor in actors:
                ray.kill(actor)


class SharedTaskRunner:
    """Makes artifacts for whoever asks; one actor a sweep.

    Args:
        make: makes an artifact, given a config and the artifact's name; runs as a task.
    """

    def __init__(self, make: Callable[[Any, str], None]) -> None:
        self.task = ray.remote(make).options(num_cpus=0)
        self.makings: dict[str, Any] = {}
        self.claims: dict[str, str] = {}

    async def make(self, folder: str, config: Any, name: str) -> None:
        """Make the artifact in a folder unless it was made, or wait for another's making of it.

        Raises:
            Exception: What making it raised; asked again, it is tried again.
        """
        if folder not in self.makings:
            self.makings[folder] = self.task.remote(config, name)
        making = self.makings[folder]
        try:
            await making
        except Exception:
            if self.makings.get(folder) == making:
                del self.makings[folder]
            raise

    async def claim(self, folder: str, trial: str) -> str:
        """Return the first trial that claimed a folder, which alone may write to it."""
        return self.claims.setdefault(folder, trial)
