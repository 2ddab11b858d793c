"""See on the driver what workers report: a board that they post to and a thread that reads it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ray

Watcher = Callable[[Mapping[str, float]], None]
POLL_SECONDS = 1.0


class MetricsBoard:
    """Keeps what is posted, for whoever reads it. Losing it loses a display, never a result."""

    def __init__(self) -> None:
        self.posted: list[dict[str, float]] = []
        self.nodes: set[str] = set()

    def arrive(self, node: str) -> None:
        """Note that a worker is on a node."""
        self.nodes.add(node)

    def seen_nodes(self) -> set[str]:
        """Return the ids of the nodes that workers were on."""
        return self.nodes

    def post(self, metrics: dict[str, float]) -> None:
        """Take the metrics of one train step."""
        self.posted.append(metrics)

    def since(self, first: int) -> list[dict[str, float]]:
        """Return what was posted from the ``first``-th on."""
        return self.posted[first:]


@contextlib.contextmanager
def watched(watch: Watcher) -> Iterator[Any]:
    """Make a board and give its handle; everything posted to it reaches ``watch`` on the driver."""
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    board = ray.remote(MetricsBoard).options(**options).remote()
    stop = threading.Event()

    def read() -> None:
        """Pass on what is posted until told to stop, and then what was posted last."""
        seen = 0
        while True:
            is_last = stop.wait(POLL_SECONDS)
            for metrics in ray.get(board.since.remote(seen)):
                watch(metrics)
                seen += 1
            if is_last:
                return

    thread = threading.Thread(target=read, name="kpod-watch", daemon=True)
    thread.start()
    try:
        yield board
    finally:
        stop.set()
        thread.join()
        ray.kill(board)
