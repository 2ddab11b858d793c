"""Run a function on many arguments as Ray tasks, some at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import ray

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def run_tasks(
    function: Callable[[Argument], Result], arguments: Sequence[Argument], max_concurrent: int
) -> Iterator[tuple[int, Result]]:
    """Yield the index of an argument and its result, as the tasks finish.

    A task takes no resources of its own: what it starts does.

    Args:
        function: runs in a worker process; may use Ray itself.
        arguments: one task each, begun in this order.
        max_concurrent: most tasks at the same time.

    Raises:
        Exception: What a task raised; tasks under way are then cancelled.
    """
    task = ray.remote(function).options(num_cpus=0, max_retries=0)
    waiting = list(enumerate(arguments))[::-1]
    running: dict[ray.ObjectRef, int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < max_concurrent:
                index, argument = waiting.pop()
                running[task.remote(argument)] = index
            (done,), _ = ray.wait(list(running), num_returns=1)
            result: Result = ray.get(done)
            yield running.pop(done), result
    finally:
        for reference in running:
            ray.cancel(reference)
