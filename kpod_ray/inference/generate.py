"""Generate a completion for every request, each exactly once, however often something dies.

Ray Data streams blocks of requests through a pool of actors, each with a service: a vLLM engine or
a client of an endpoint. What streams is where the blocks are: the actor reads them. Many are under
way at once, so that the engine stays full while a block waits for its longest row. Finished rows are
written by the actor itself, soon after they finish and whatever else is under way; a later call does
only the rows that no file holds. `kpod_ray.cluster.actor_pool` is the simpler stream, for rows that take
milliseconds; its docstring says what the two share and why they differ.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import psutil
import pyarrow as pa
import ray

from kpod_ray.cluster import placement
from kpod_ray.cluster.failures import explained
from kpod_ray.inference.attempts import FEW, MOST_DEATHS, AttemptTracker
from kpod_ray.inference.limits import CapacityLimiter, SharedExclusiveLock
from kpod_ray.inference.processes import PATIENCE_SECONDS, wait_until_gone
from kpod_ray.inference.requests import Block, Pending, read_requests
from kpod_ray.inference.service import ServicePool
from kpod_ray.inference.writer import CompletionWriter
from kpod_ray.records import Completion, GenerationRequest
from kpod_ray.storage.artifacts import Store

Door = Callable[[], AbstractAsyncContextManager[None]]
OPEN_FACTOR = 4
"""Rows of open blocks for each that may be under way: a text is up to so often longer than usual."""
MOST_CALLS = 1000
"""Calls that all blocks are dealt to, if the actors need no more: what Ray Data keeps of them is the
same for a million rows as for a hundred thousand."""
CALLS_FOR_EACH = 4
"""Calls for each that may be under way at the same time, so that all actors end at about one time."""
FILES_IN_MEMORY = 4
"""Files of requests that an actor keeps: blocks under way lie side by side."""


def generate(
    pending: Pending, folder: str, pool: ServicePool, on_rows: Callable[[int], None]
) -> frozenset[str]:
    """Write a completion for every request into files of a folder.

    Args:
        pending: the requests, with unique ids.
        folder: relative to the store's root; may hold completions of other requests.
        pool: what to run.
        on_rows: is told of rows that are finished, how many at a time.

    Returns:
        The ids of the nodes that the services were on.

    Raises:
        KpodError: The service can't be used, or the completions can't be written.
    """
    resources, run = pool.resources, uuid.uuid4().hex[:8]
    most_actors = resources.max_actors or resources.num_actors
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    attempts = (
        ray.remote(AttemptTracker)
        .options(**options)
        .remote(pending.store, folder, run, most_actors)
    )
    arguments = {
        "pool": pool,
        "store": pending.store,
        "folder": folder,
        "run": run,
        "attempts": attempts,
    }
    patience_s = 0.0  # after an error nobody tells the actors to end
    try:
        with explained():
            for call in _dataset(pending, pool, arguments).iter_batches(batch_size=None):
                attempts.close.remote(
                    call["key"].tolist()
                )  # its result is here: it isn't made again
                on_rows(int(call["rows"].sum()))
        patience_s = PATIENCE_SECONDS
    finally:
        processes = ray.get(attempts.seen_processes.remote())
        wait_until_gone(processes, patience_s)
        ray.kill(attempts)
    return frozenset(processes)


def _dataset(pending: Pending, pool: ServicePool, arguments: dict[str, Any]) -> ray.data.Dataset:
    resources = pool.resources
    most_actors = resources.max_actors or resources.num_actors
    num_open = max(2, math.ceil(OPEN_FACTOR * pool.max_in_flight / resources.rows_per_block))
    blocks = [dataclasses.asdict(block) for block in pending.blocks(resources.rows_per_block)]
    num_calls = max(MOST_CALLS, CALLS_FOR_EACH * most_actors * num_open)
    calls = ray.data.from_items(blocks, override_num_blocks=min(num_calls, len(blocks)))
    return calls.map_batches(
        GenerationActor,
        batch_size=None,
        batch_format="pyarrow",
        fn_constructor_kwargs=arguments,
        compute=ray.data.ActorPoolStrategy(
            min_size=resources.num_actors,
            max_size=most_actors,
            max_concurrent_calls_per_actor=num_open,
            max_tasks_in_flight_per_actor=num_open + 1,
        ),
        **placement.actor_options(resources, pool.environment),
    )


class GenerationActor:
    """Puts blocks of requests to a service and writes what comes back.

    Args:
        pool: which service, and how much of it at the same time.
        store: where the completions are written.
        folder: of their files.
        run: start of the files' names.
        attempts: handle of the run's `AttemptTracker`.
    """

    def __init__(
        self, pool: ServicePool, store: Store, folder: str, run: str, attempts: Any
    ) -> None:
        self.attempts = attempts
        ray.get(attempts.starts.remote())
        self._report_processes()
        self.service = pool.start()
        self._report_processes()
        rows_per_file = max(1, pool.resources.rows_per_block // 2)
        self.writer = CompletionWriter(store, folder, run, rows_per_file, self._report_written)
        self.lock, self.limiter = SharedExclusiveLock(), CapacityLimiter(pool.max_in_flight)
        self.read = functools.lru_cache(FILES_IN_MEMORY)(functools.partial(read_requests, store))
        self.reading = asyncio.Lock()  # blocks side by side wait for the one that reads their file

    async def __call__(self, call: pa.Table) -> dict[str, list[Any]]:
        """Write the completions of some blocks, one after the other; return keys and lengths."""
        blocks = [Block(**row) for row in call.to_pylist()]
        keys = [await self._finish(block) for block in blocks]
        return {"key": keys, "rows": [block.end - block.start for block in blocks]}

    async def _finish(self, block: Block) -> str:
        """Write the completions of a block; return its key in the `AttemptTracker`."""
        async with self.reading:
            requests = (await asyncio.to_thread(self.read, block.path))[block.start : block.end]
        key, deaths = requests[0].id, await self.attempts.begin.remote([r.id for r in requests])
        rows = list(zip(requests, deaths, strict=True))
        fresh = [request for request, died in rows if died == 0]
        if fresh:
            await self._run(key, fresh, self.lock.together)
        for few in _suspects(rows):
            await self._run(key, few, self.lock.alone)
        for request in (request for request, died in rows if died >= MOST_DEATHS):
            text = f"the engine died each of {MOST_DEATHS} times that it was given this prompt"
            await self.writer.add(Completion(request.id, text, "error", 0))
        await self.writer.flush()
        return key

    async def _run(self, key: str, requests: Sequence[GenerationRequest], door: Door) -> None:
        await self.limiter.enter(len(requests))  # before the door: who is inside waits for nobody
        async with door():
            await self.attempts.under_way.remote(key, [request.id for request in requests])
            await asyncio.gather(*(self._generate(request) for request in requests))

    async def _generate(self, request: GenerationRequest) -> None:
        completion = await self.service.generate(request)
        await self.limiter.leave()
        await self.writer.add(completion)

    async def _report_written(self, part: str, ids: Sequence[str]) -> None:
        await self.attempts.written.remote(part, list(ids))

    def _report_processes(self) -> None:
        me = psutil.Process()
        family = [me, *me.children(recursive=True)]
        times = {p.pid: p.create_time() for p in family}
        ray.get(self.attempts.started.remote(placement.own_node(), times))


def _suspects(
    rows: Sequence[tuple[GenerationRequest, int]],
) -> Iterator[list[GenerationRequest]]:
    """Yield the requests that an engine may have died of, a few after one death, else alone."""
    once = [request for request, died in rows if died == 1]
    for start in range(0, len(once), FEW):
        yield once[start : start + FEW]
    for request, died in rows:
        if 1 < died < MOST_DEATHS:
            yield [request]
