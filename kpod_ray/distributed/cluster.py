"""Connect to Ray, and check that a cluster can hold what a config asks for."""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path

import ray

from kpod_ray.config import (
    ActorResources,
    GeneratingTeacher,
    ResourcesConfig,
    RunConfig,
    WorkerResources,
)
from kpod_ray.errors import KpodError

# Waiting threads sleep instead of spinning: several processes share a small machine's cores.
THREAD_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}

CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")
"""Where ``ray start`` writes the address of the cluster it made."""
CONNECT_SECONDS = 2.0
BLOCK_MIB = 16
"""Most of a Ray Data block: a process that reads or cuts blocks holds several."""


def connect(resources: ResourcesConfig) -> None:
    """Join the cluster of RAY_ADDRESS or of ``ray start``; without one, start Ray on this machine.

    RAY_ADDRESS=local always starts one.

    Raises:
        KpodError: No cluster answers.
    """
    if not _join():
        _start(resources, include_dashboard=False)  # it takes time of a small machine's few cores


def connect_with_dashboard(resources: ResourcesConfig) -> None:
    """Connect as `connect` does; a Ray that is started has its dashboard.

    Ray Train frees what a stopped trial of Ray Tune has taken by asking it. It looks for it at
    RAY_ADDRESS, and fails without it where several Rays run on the machine.

    Raises:
        KpodError: No cluster answers.
    """
    if _join():
        return
    host, port = ray.util.get_node_ip_address(), _free_port()
    known = {"RAY_ADDRESS": f"{host}:{port}", "RAY_GCS_SERVER_PORT": str(port)}
    before = {name: os.environ.get(name) for name in known}
    os.environ.update(known)  # all processes of the Ray that starts inherit them
    try:
        _start(resources, include_dashboard=True)
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _free_port() -> int:
    with socket.create_server(("", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _join() -> bool:
    """Join the cluster that is there, if any; return whether this process is connected then."""
    if ray.is_initialized():  # by us, or for us: this is a task of a cluster
        _prepare_data_context()
        return True
    os.environ.update({k: v for k, v in THREAD_ENVIRONMENT.items() if k not in os.environ})
    address = os.environ.get("RAY_ADDRESS") or running_address(CURRENT_CLUSTER)
    if address == "local":
        return False
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise KpodError(f"no Ray cluster answers at {address}; unset RAY_ADDRESS?") from error
    _prepare_data_context()
    return True


def _start(resources: ResourcesConfig, include_dashboard: bool) -> None:
    ray.init(
        address="local",
        num_cpus=resources.local_cpus or max(4, os.cpu_count() or 1),
        object_store_memory=int(resources.object_store_gib * 2**30),
        include_dashboard=include_dashboard,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )
    _prepare_data_context()


def running_address(file: Path) -> str:
    """Return the address of the ``ray start`` cluster that a file names, or ``local``.

    The file outlives a cluster that was killed, and Ray would wait minutes for it: it counts only
    when something listens there.
    """
    if not file.is_file():
        return "local"
    address = file.read_text().strip()
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError):
        return "local"
    return address


def _prepare_data_context() -> None:
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context = ray.data.DataContext.get_current()
    context.execution_no_progress_timeout_s = -1  # a slow model is no stall
    context.wait_for_min_actors_s = 600  # an engine that never starts is an error, not a wait
    context.enable_progress_bars = sys.stderr.isatty()
    context.target_max_block_size = BLOCK_MIB << 20


def check_resources(config: RunConfig) -> None:
    """Check that the cluster has the CPUs and GPUs of every phase.

    Raises:
        KpodError: It never could hold a phase; what is missing is named.
    """
    have = ray.cluster_resources()
    resources = config.resources
    for phase in ("teacher", "annotate", "assess", "evaluate", "weigh", "train"):
        request: ActorResources | WorkerResources = getattr(resources, phase)
        is_idle = phase == "teacher" and not isinstance(config.teacher, GeneratingTeacher)
        if is_idle:
            continue
        for name, amount in _wanted(request).items():
            if amount > have.get(name, 0):
                raise KpodError(
                    f"resources.{phase} needs {amount:g} {name}s, the cluster has "
                    f"{have.get(name, 0):g}; ask for less or add nodes"
                )


def num_concurrent(config: RunConfig) -> int:
    """Return how many trainings and evaluations of a config the cluster has room for, at least 1."""
    have, resources = ray.cluster_resources(), config.resources
    train, evaluate = _wanted(resources.train), _wanted(resources.evaluate)
    wanted = {name: max(amount, evaluate[name]) for name, amount in train.items()}
    if config.student.accuracy_every is not None:
        wanted = {name: amount + evaluate[name] for name, amount in train.items()}
    return max(1, min(int(have.get(n, 0) // amount) for n, amount in wanted.items() if amount))


def has_room_beside_training(resources: ResourcesConfig) -> bool:
    """Whether the cluster can hold one more actor of ``evaluate`` while all workers train."""
    have, more = ray.cluster_resources(), resources.evaluate
    wanted = _wanted(resources.train)
    return wanted["CPU"] + more.num_cpus <= have.get("CPU", 0) and wanted[
        "GPU"
    ] + more.num_gpus <= have.get("GPU", 0)


def _wanted(request: ActorResources | WorkerResources) -> dict[str, float]:
    """Return the resources that a phase needs for all its processes together."""
    spare = 1 if isinstance(request, ActorResources) else 0  # Ray Data's own tasks
    num_processes = _num_processes(request)
    if isinstance(request, WorkerResources) and request.min_workers is not None:
        num_processes = request.min_workers
    return {
        "CPU": num_processes * request.num_cpus + spare,
        "GPU": num_processes * request.num_gpus,
    }


def threads_of(resources: ActorResources | WorkerResources) -> int:
    """Return the CPU threads of one process: what is set, or its share of this machine's cores."""
    if resources.num_threads is not None:
        return resources.num_threads
    return max(1, (os.cpu_count() or 1) // _num_processes(resources))


def _num_processes(resources: ActorResources | WorkerResources) -> int:
    if isinstance(resources, ActorResources):
        return resources.num_actors
    return resources.num_workers
