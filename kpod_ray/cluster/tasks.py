"""Run functions in Ray: many calls with a limit on concurrency, and tasks shared between trials.

`run_tasks` calls a function with many arguments. `SharedTaskRunner` makes each artifact of a sweep
once, however many trials need the artifact.
"""

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
    """Holds a function of one argument and calls it; `run_tasks` wraps this class as a Ray actor."""

    def __init__(self, function: Callable[[Argument], Result]) -> None:
        self.function = function

    def run(self, argument: Argument) -> Result:
        """Call the function with an argument and return its result; exceptions pass through."""
        return self.function(argument)


def run_tasks(
    function: Callable[[Argument], Result], arguments: Sequence[Argument], max_concurrent: int
) -> Generator[tuple[int, Result], None, None]:
    """Yield the index of an argument and its result, in the order in which the calls finish.

    Ray must be connected. Calls start only while the caller iterates. When the iteration ends or fails,
    or the caller closes the generator, the actors in which the calls run are killed; Ray then also ends
    the actors that a call has started. The placement group of a Ray Train ``fit`` is freed only if Ray
    has a dashboard (see `connect_with_dashboard`), otherwise when the driver ends.

    Args:
        function: runs in an actor on the caller's node; an actor may run several calls in turn. A call
            reserves no resources; the actors and tasks that the function starts reserve theirs.
        arguments: one call for each argument; calls start in this order.
        max_concurrent: maximum number of calls at the same time, at least 1.

    Raises:
        Exception: A call raised this exception, which Ray makes an instance of `RayTaskError`, too; or
            Ray reports that the actor of a call died.
    """
    here = NodeAffinitySchedulingStrategy(own_node(), soft=False)
    # Actors, because an actor can be killed when its call must end early. A normal task could only be
    # cancelled, and `ray.cancel` aborts the whole driver process if the task ends at the same moment
    # (Ray 2.60; ray-project/ray PR 54798 fixed only some of the cases).
    actor_class: Any = ray.remote(FunctionRunner).options(num_cpus=0, scheduling_strategy=here)
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
        # After ray.shutdown the actors are gone already, and ray.kill would start a new Ray.
        if ray.is_initialized():
            for actor in actors:
                ray.kill(actor)


class SharedTaskRunner:
    """Makes each artifact that trials share once, and grants each artifact to one trial.

    One Ray actor of this class exists per sweep; its methods are called by ``.remote``. An artifact is
    identified by its folder in the store. The actor is asynchronous, so that one trial can wait for an
    artifact while the actor answers other trials.

    Args:
        make: takes a config and the name of an artifact, and makes the artifact; runs as a Ray task.
    """

    def __init__(self, make: Callable[[Any, str], None]) -> None:
        self.task = ray.remote(make).options(num_cpus=0)
        self.running: dict[str, Any] = {}
        """Folder of an artifact -> reference to the task that makes the artifact or has made it."""
        self.claims: dict[str, str] = {}
        """Folder of an artifact -> id of the trial that claimed the artifact."""

    async def make(self, folder: str, config: Any, name: str) -> None:
        """Wait until the artifact in a folder is made; start a task for it if none was started.

        The task makes the artifact ``name``, such as ``teacher``, with the ``config`` of the first call.

        Raises:
            Exception: The task raised this exception. All trials that wait get the exception; the next
                call of `make` starts a new task.
        """
        if folder not in self.running:
            self.running[folder] = self.task.remote(config, name)
        task = self.running[folder]
        try:
            await task
        except Exception:
            # Several trials may wait for the failed task, and the first of them to get here may have
            # started a new one: only the failed task is removed.
            if self.running.get(folder) == task:
                del self.running[folder]
            raise

    async def claim(self, folder: str, trial: str) -> str:
        """Claim the artifact in a folder for a trial; return the id of the trial that claimed it first.

        Only the trial whose id is returned may write to the folder. A claim lasts until the actor ends.
        """
        return self.claims.setdefault(folder, trial)
