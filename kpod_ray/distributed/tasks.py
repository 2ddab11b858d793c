"""Run a function on many arguments in processes of Ray, some at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import ray

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class FunctionRunner(Generic[Argument, Result]):
    """Calls one function, again and again."""

    def __init__(self, function: Callable[[Argument], Result]) -> None:
        self.function = function

    def run(self, argument: Argument) -> Result:
        """Return the function's result."""
        return self.function(argument)


def run_tasks(
    function: Callable[[Argument], Result], arguments: Sequence[Argument], max_concurrent: int
) -> Iterator[tuple[int, Result]]:
    """Yield the index of an argument and its result, in the order in which the calls finish.

    Each call runs in an actor, never in a normal Ray task. When the caller stops early or a call
    fails, the other calls must end, and an actor can be killed. A normal task could only be
    cancelled, and `ray.cancel` aborts the whole driver process if the task ends at the same moment
    (ray-project/ray issue 54846).

    Args:
        function: runs in a worker process; may use Ray itself. The call reserves no resources;
            whatever the function starts reserves its own.
        arguments: one call each, started in this order.
        max_concurrent: most calls at the same time, at least 1.

    Raises:
        Exception: What a call raised. The calls under way are killed.
    """
    actor_class: Any = ray.remote(FunctionRunner).options(num_cpus=0)
    actors = [actor_class.remote(function) for _ in arguments[:max_concurrent]]
    idle = list(actors)
    waiting = deque(enumerate(arguments))
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
        for actor in actors:
            ray.kill(actor)
