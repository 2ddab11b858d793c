"""Pass the metrics of training workers to a callback on the driver while the training runs.

Workers post metrics to a `MetricsBoard` actor. A thread on the driver polls the actor and calls the
callback, because the driver itself is blocked until ``fit`` of Ray Train returns.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ray

Watcher = Callable[[Mapping[str, float]], None]
"""Called on the driver with the metrics of one train step."""
POLL_SECONDS = 1.0
"""Seconds between two polls of the board by the driver."""


class MetricsBoard:
    """Stores the metrics that workers post and the nodes that workers ran on; used as a Ray actor.

    Its methods are called by ``board.<method>.remote(...)``. When the actor dies, Ray starts an empty
    one: metrics and nodes are lost, and the driver misses metrics for its display; no result of the
    training depends on them.
    """

    def __init__(self) -> None:
        self.posted: list[dict[str, float]] = []
        self.nodes: set[str] = set()

    def arrive(self, node: str) -> None:
        """Record the Ray id of a node; each worker calls this method when the worker starts.

        Recording a node again changes nothing.
        """
        self.nodes.add(node)

    def seen_nodes(self) -> set[str]:
        """Return the Ray ids of all nodes passed to `arrive` since the actor's last start."""
        return self.nodes

    def post(self, metrics: dict[str, float]) -> None:
        """Append the metrics of one train step, by name, to those that `since` returns.

        Each call adds an entry, also if an earlier call was for the same train step.
        """
        self.posted.append(metrics)

    def since(self, first: int) -> list[dict[str, float]]:
        """Return the posted metrics from the 0-based index ``first`` on, in order of posting."""
        return self.posted[first:]


@contextlib.contextmanager
def watched(watch: Watcher) -> Iterator[Any]:
    """Start a `MetricsBoard` actor for the block; yield its handle.

    Ray must be connected. The actor is killed when the block ends. Metrics are lost if the actor dies.

    Args:
        watch: called on the driver, in a thread, for each posted set of metrics, once and in order. The
            block ends only after the call for the last one. After an exception of ``watch``, the thread
            ends and ``watch`` isn't called again; the block goes on.
    """
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    board = ray.remote(MetricsBoard).options(**options).remote()
    stop = threading.Event()

    def read() -> None:
        """Poll the board until the block ends, and once more afterwards for the last metrics."""
        num_read = 0
        while True:
            is_last = stop.wait(POLL_SECONDS)
            for metrics in ray.get(board.since.remote(num_read)):
                watch(metrics)
                num_read += 1
            if is_last:
                return

    thread = threading.Thread(target=read, name="kpod-watch", daemon=True)
    thread.start()
    try:
        yield board
    finally:
        stop.set()
        thread.join()
        # After ray.shutdown the actor is gone already, and ray.kill would start a new Ray.
        if ray.is_initialized():
            ray.kill(board)
