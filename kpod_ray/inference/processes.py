"""Wait until the processes of engines are gone, and their memory is free."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

PATIENCE_SECONDS = 30.0


def wait_until_gone(processes: Mapping[str, Mapping[int, float]], patience_s: float) -> None:
    """Wait on every node that is still there; end by force what stays.

    Args:
        processes: for each node's id the start time of every process by its id.
        patience_s: seconds they have for an end of their own.
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
    """Wait until these processes of this machine are gone; after a time, kill them.

    Args:
        processes: start time by process id, since ids are used again.
        patience_s: seconds to wait.
    """
    deadline = time.monotonic() + patience_s
    while left := [pid for pid, started in processes.items() if _runs(pid, started)]:
        if time.monotonic() > deadline:
            for pid in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).kill()
            deadline += patience_s
        time.sleep(0.1)


def _runs(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return process.create_time() == started and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
