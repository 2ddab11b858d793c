"""Wait until the processes of the engines have ended, so that the engines' memory is free again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

PATIENCE_SECONDS = 30.0
"""Seconds that processes have to end before they are killed."""


def wait_until_gone(processes: Mapping[str, Mapping[int, float]], patience_s: float) -> None:
    """Wait until processes of several nodes have ended; kill the processes that don't end in time.

    Ray must be connected: `end_processes` runs as a Ray task on each node. Nodes that have left the
    cluster are skipped.

    Args:
        processes: Ray node id -> processes as in `end_processes`.
        patience_s: seconds that the processes have to end before they are killed.

    Raises:
        RayError: A node left the cluster during the call, or a process may not be killed.
    """
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    task = ray.remote(end_processes)
    waits = [
        task.options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote(dict(of_node), patience_s)
        for node, of_node in processes.items()
        if node in alive
    ]
    ray.get(waits)


def end_processes(processes: Mapping[int, float], patience_s: float) -> None:
    """Wait until processes of this machine have ended; kill the processes that don't end in time.

    The call returns only when all processes have ended; a zombie counts as ended. The processes that
    still run are killed (SIGKILL) every ``patience_s`` seconds.

    Args:
        processes: process id -> start time in seconds since the epoch, as psutil gives it. The start
            time tells a process from a later process with the same id.
        patience_s: seconds that the processes have to end before they are killed.

    Raises:
        psutil.AccessDenied: A process belongs to another user.
    """
    deadline = time.monotonic() + patience_s
    while left := [pid for pid, started in processes.items() if _runs(pid, started)]:
        if time.monotonic() > deadline:
            for pid in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).kill()
            deadline += patience_s  # a killed process may take a while to end: wait again
        time.sleep(0.1)


def _runs(pid: int, started: float) -> bool:
    """Return whether the process that started at this time is still running."""
    try:
        process = psutil.Process(pid)
        # A zombie has freed its memory; its parent may never collect it.
        return process.create_time() == started and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
