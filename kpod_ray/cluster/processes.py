"""Wait until processes of engines and of Ray have ended, so that their memory is free again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kpod_ray.storage.scratch import started

PATIENCE_SECONDS = 30.0
"""Seconds that processes have to end before they are killed."""


def wait_until_gone(processes: Mapping[str, Mapping[int, int]], patience_s: float) -> None:
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


def end_processes(processes: Mapping[int, int], patience_s: float) -> None:
    """Wait until processes of this machine have ended; kill the processes that don't end in time.

    The call returns only when all processes have ended; a zombie counts as ended. The processes that
    still run are killed (SIGKILL) every ``patience_s`` seconds.

    Args:
        processes: process id -> start of the process (`started`).
        patience_s: seconds that the processes have to end before they are killed.

    Raises:
        psutil.AccessDenied: A process belongs to another user.
    """
    deadline = time.monotonic() + patience_s
    while left := [pid for pid, start in processes.items() if started(pid) == start]:
        if time.monotonic() > deadline:
            for pid in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).kill()
            deadline += patience_s  # a killed process may take a while to end: wait again
        time.sleep(0.1)


def leave_ray(patience_s: float) -> None:
    """Leave Ray; if this process started Ray, wait for the end of its processes, and kill late ones."""
    folder = f"{ray.__path__[0]}/"
    processes = [
        process
        for child in psutil.Process().children()
        if any(word.startswith(folder) for word in child.cmdline())
        for process in [child, *child.children(recursive=True)]
    ]
    ray.shutdown()
    for process in psutil.wait_procs(processes, timeout=patience_s)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
