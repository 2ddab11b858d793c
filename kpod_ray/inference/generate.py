"""Generate a completion for every request exactly once, even if actors or engines die in between.

Ray Data streams the positions of blocks of requests (`Block`) through a pool of actors; each actor runs
one service and reads the requests from the store. Many blocks are in flight at once, so that the
engine's batches stay full while a block waits for its longest completion. The actor itself writes
finished completions, before their blocks end. A later run therefore generates only the rows that no file
holds.

`kpod_ray.cluster.actor_pool` is a simpler stream for rows that take milliseconds; its docstring compares
both streams.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import math
import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import psutil
import pyarrow as pa
import ray

from kpod_ray.cluster import placement
from kpod_ray.cluster.failures import explained
from kpod_ray.cluster.interruption import Listener, forget
from kpod_ray.cluster.processes import PATIENCE_SECONDS, wait_until_gone
from kpod_ray.inference.attempts import MOST_DEATHS, AttemptTracker, next_attempt
from kpod_ray.inference.concurrency import CapacityLimiter, SharedExclusiveLock
from kpod_ray.inference.records import Completion, GenerationRequest
from kpod_ray.inference.requests import Block, Pending, read_requests
from kpod_ray.inference.service import ServicePool
from kpod_ray.inference.writer import CompletionWriter
from kpod_ray.storage.scratch import started
from kpod_ray.storage.store import Store

Acquire = Callable[[], AbstractAsyncContextManager[None]]
"""A method of `SharedExclusiveLock` that acquires the lock, shared or exclusive."""
OPEN_FACTOR = 4
"""Rows in open blocks per row in flight. The longest text of a block is assumed to be at most this many
times as long as a usual text; meanwhile the other open blocks keep the engine busy."""
MOST_CALLS = 1000
"""Largest number of actor calls that the blocks are distributed over, unless the actors need more; keeps
the bookkeeping of Ray Data constant for any number of rows."""
CALLS_FOR_EACH = 4
"""Calls per call that may be in flight, so that all actors finish at about the same time."""
FILES_IN_MEMORY = 4
"""Files of requests that an actor caches; the blocks in flight are neighbours in few files."""


def generate(
    pending: Pending, folder: str, pool: ServicePool, on_rows: Callable[[int], None]
) -> frozenset[str]:
    """Write a completion for every pending request into new files of a folder.

    Requests that already have a completion in the folder are generated, too. A request in whose
    generation an engine died `MOST_DEATHS` times gets an error row. Ray must be connected. At the end,
    the processes of the services have ended: those that still run after `PATIENCE_SECONDS`, or after an
    error at once, are killed. Completions that were written before an error stay. The files of
    ``pending`` aren't deleted.

    Args:
        pending: the requests, at least one, with unique ids; not yet discarded.
        folder: folder of the completions, relative to the root of ``pending.store``; may be missing.
        pool: the service to run, and its number of actors and their resources.
        on_rows: called in this process whenever blocks are finished, with the number of rows of these
            blocks, error rows included.

    Returns:
        The Ray ids of the nodes that the services ran on.

    Raises:
        KpodError: The engines died `MOST_STARTS` times per actor without a row in between, the service
            raises a `KpodError`, the disk is full, or the object store fails.
        ray.exceptions.RayError: An actor failed for another reason.
    """
    run = uuid.uuid4().hex[:8]
    tracker = ray.remote(AttemptTracker)
    tracker = tracker.options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    attempts = tracker.remote(pending.store, folder, run, pool.resources.most_actors)
    arguments = {
        "pool": pool,
        "store": pending.store,
        "folder": folder,
        "run": run,
        "attempts": attempts,
    }
    patience_s = 0.0  # after an error the actors aren't asked to end, so waiting would be useless
    try:
        with explained():
            for call in _dataset(pending, pool, arguments).iter_batches(batch_size=None):
                # Ray Data doesn't repeat a call whose result has arrived.
                attempts.close.remote(call["key"].tolist())
                on_rows(int(call["rows"].sum()))
        patience_s = PATIENCE_SECONDS
    finally:
        processes = ray.get(attempts.seen_processes.remote())
        forget(run)
        wait_until_gone(processes, patience_s)
        ray.kill(attempts)
    return frozenset(processes)


def _dataset(pending: Pending, pool: ServicePool, arguments: dict[str, Any]) -> ray.data.Dataset:
    """Return the lazy dataset whose rows are the finished blocks: keys and numbers of rows."""
    resources = pool.resources
    num_open = max(2, math.ceil(OPEN_FACTOR * pool.max_in_flight / resources.rows_per_block))
    blocks = [dataclasses.asdict(block) for block in pending.blocks(resources.rows_per_block)]
    num_calls = max(MOST_CALLS, CALLS_FOR_EACH * resources.most_actors * num_open)
    calls = ray.data.from_items(blocks, override_num_blocks=min(num_calls, len(blocks)))
    return calls.map_batches(
        GenerationActor,
        batch_size=None,
        batch_format="pyarrow",
        fn_constructor_kwargs=arguments,
        compute=ray.data.ActorPoolStrategy(
            min_size=resources.num_actors,
            max_size=resources.most_actors,
            max_concurrent_calls_per_actor=num_open,
            max_tasks_in_flight_per_actor=num_open + 1,  # one call waits, ready to start
        ),
        **placement.actor_options(resources, pool.environment),
    )


class GenerationActor:
    """Generates the completions of blocks of requests with a service, and writes the completions.

    An instance is an actor of Ray Data; all of its calls run in one event loop. The constructor starts
    the service, and reports the start and the processes to ``attempts``, the actor handle of the run's
    `AttemptTracker`. ``store``, ``folder`` and ``run`` are those of the tracker.

    Raises:
        KpodError: The engines of the run died too often (`AttemptTracker.starts`).
        Exception: ``pool.start`` raises it.
    """

    def __init__(
        self, pool: ServicePool, store: Store, folder: str, run: str, attempts: Any
    ) -> None:
        self.attempts = attempts
        ray.get(attempts.starts.remote())
        self._report_processes()  # of the actor, in case the service dies during its start
        self.service = pool.start()
        self._report_processes()  # of the actor and of the engine
        rows_per_file = max(1, pool.resources.rows_per_block // 2)
        self.writer = CompletionWriter(store, folder, run, rows_per_file, self._report_written)
        self.lock = SharedExclusiveLock()
        self.limiter = CapacityLimiter(pool.max_in_flight)
        self.read = functools.lru_cache(FILES_IN_MEMORY)(functools.partial(read_requests, store))
        # Without the lock, concurrent blocks of one file would all read it before it is cached.
        self.reading = asyncio.Lock()
        self.listener = Listener(f"{run}/{os.getpid()}")
        self.saving: asyncio.Task[None] | None = None
        self.is_ending = False

    async def __call__(self, call: pa.Table) -> dict[str, list[Any]]:
        """Write the completions of blocks, one block after the other; return when all are in files.

        Args:
            call: one row per block, with the fields of `Block` as columns.

        Returns:
            ``key``: the id of each block's first row; ``rows``: the number of rows of each block.

        Raises:
            KpodError: The service raises it, because no request can succeed.
        """
        self.saving = self.saving or asyncio.create_task(self._save_at_end())
        blocks = [Block(**row) for row in call.to_pylist()]
        keys = [await self._finish(block) for block in blocks]
        return {"key": keys, "rows": [block.end - block.start for block in blocks]}

    async def _finish(self, block: Block) -> str:
        """Write the completions of a block; return the block's key in the `AttemptTracker`."""
        async with self.reading:
            requests = (await asyncio.to_thread(self.read, block.path))[block.start : block.end]
        key = requests[0].id
        deaths = await self.attempts.begin.remote([request.id for request in requests])
        attempt = next_attempt(deaths)
        if attempt.together:
            fresh = [requests[row] for row in attempt.together]
            await self._run(key, fresh, self.lock.together)
        # No other row may be in flight beside suspects: a death must not be counted for other rows.
        for suspects in attempt.apart:
            await self._run(key, [requests[row] for row in suspects], self.lock.alone)
        for row in attempt.failed:
            text = f"the engine died each of {MOST_DEATHS} times that it was given this prompt"
            await self.writer.add(Completion(requests[row].id, text, "error", 0))
        await self.writer.flush()
        return key

    async def _run(self, key: str, requests: Sequence[GenerationRequest], acquire: Acquire) -> None:
        """Generate and write the completions of some rows of a block while a lock is held."""
        # Capacity is taken before the lock. In the other order, a holder of the shared lock could wait
        # for the capacity of rows that wait for the exclusive lock: a deadlock.
        await self.limiter.enter(len(requests))
        async with acquire():
            await self.attempts.under_way.remote(key, [request.id for request in requests])
            await asyncio.gather(*(self._generate(request) for request in requests))

    async def _generate(self, request: GenerationRequest) -> None:
        completion = await self.service.generate(request)
        await self.limiter.leave()
        await self.writer.add(completion)
        if self.is_ending:  # the process is killed at any moment
            await self.writer.flush()

    async def _save_at_end(self) -> None:
        """Write the finished completions at once when the command ends."""
        if await self.listener.wait():
            self.is_ending = True
            await self.writer.flush()
            self.listener.saved()

    async def _report_written(self, part: str, ids: Sequence[str]) -> None:
        await self.attempts.written.remote(part, list(ids))

    def _report_processes(self) -> None:
        """Report this process and its children, so that `generate` can wait for their end."""
        own = psutil.Process()
        processes = [own, *own.children(recursive=True)]
        starts = {process.pid: started(process.pid) for process in processes}
        running = {pid: start for pid, start in starts.items() if start is not None}
        ray.get(self.attempts.started.remote(placement.own_node(), running))
