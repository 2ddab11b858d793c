"""Connect to Ray."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray

from kpod_ray.config import ResourcesConfig
from kpod_ray.errors import KpodError

ENVIRONMENT = {
    # Waiting threads sleep instead of spinning: several processes share a small machine's cores.
    "OMP_WAIT_POLICY": "PASSIVE",
    # How often Ray Train looks at its workers: a stage waits until it has seen the checkpoint.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}
"""What Ray and its processes read from the environment, unless the user has set it."""
CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")
"""Where ``ray start`` writes the address of the cluster it made."""
CONNECT_SECONDS = 2.0
START_SECONDS = 600
"""How long an engine may take to start."""
GROWING_SECONDS = 3600
"""How long it may take where the cluster makes its machine first."""
NUM_START_RETRIES = 3
"""Times that a training whose workers aren't there in time is started again."""
BLOCK_MIB = 16
"""Most of a Ray Data block: a process that reads or cuts blocks holds several."""


def connect(resources: ResourcesConfig) -> None:
    """Join the cluster of RAY_ADDRESS or of ``ray start``; without one, start Ray on this machine.

    RAY_ADDRESS=local always starts one.

    Raises:
        KpodError: No cluster answers.
    """
    if not _join(resources):
        _start(resources, include_dashboard=False)  # it takes time of a small machine's few cores


def connect_with_dashboard(resources: ResourcesConfig) -> None:
    """Connect as `connect` does; a Ray that is started has its dashboard.

    Ray Train asks the dashboard whether a training was killed, before it frees the training's
    placement group. It looks for the dashboard at RAY_ADDRESS, and fails without RAY_ADDRESS where
    several Rays run on the machine.

    Raises:
        KpodError: No cluster answers.
    """
    if _join(resources):
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


def _join(resources: ResourcesConfig) -> bool:
    """Join the cluster that is there, if any; return whether this process is connected then."""
    os.environ.update({k: v for k, v in ENVIRONMENT.items() if k not in os.environ})
    if ray.is_initialized():  # by us, or for us: this is a task of a cluster
        _prepare(resources)
        return True
    address = os.environ.get("RAY_ADDRESS") or running_address(CURRENT_CLUSTER)
    if address == "local":
        return False
    try:
        ray.init(
            address=address,
            runtime_env=_in_this_folder(),
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except ConnectionError as error:
        raise KpodError(
            f"no Ray cluster answers at {address}; unset RAY_ADDRESS, or set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN if it asks for a token"
        ) from error
    _prepare(resources)
    return True


def _in_this_folder() -> dict[str, Any]:
    """Return the runtime environment in which a cluster's processes work in this process's folder.

    The relative paths of a config are meant from there, and a cluster's processes start in the folder
    of ``ray start``. Those of a Ray job start in the job's own folder, as its driver does. A node that
    has no such folder leaves its processes where they are.
    """
    if is_ray_job():
        return {}
    folder = os.getcwd()

    def enter() -> None:
        """Work in the folder, where it is there."""
        if os.path.isdir(folder):
            os.chdir(folder)

    return {"worker_process_setup_hook": enter}


def _start(resources: ResourcesConfig, include_dashboard: bool) -> None:
    # A process for each training that looks whether a cloud takes the machine back.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    ray.init(
        address="local",
        num_cpus=resources.local_cpus or max(4, os.cpu_count() or 1),
        object_store_memory=int(resources.object_store_gib * 2**30),
        include_dashboard=include_dashboard,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )
    _prepare(resources)


def is_ray_job() -> bool:
    """Whether ``ray job submit`` started this process."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


@contextlib.contextmanager
def joined(resources: ResourcesConfig) -> Iterator[None]:
    """Connect, and leave again at the end what wasn't joined before."""
    was_there = ray.is_initialized()
    connect(resources)
    try:
        yield
    finally:
        if not was_there:
            ray.shutdown()


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


def _prepare(resources: ResourcesConfig) -> None:
    """Say how long Ray Data and Ray Train wait for processes to be there, and where these work."""
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # else the relative paths of a config lead elsewhere
    seconds = GROWING_SECONDS if resources.autoscaling else START_SECONDS
    _prepare_data_context(seconds)
    if resources.autoscaling:
        each = GROWING_SECONDS / (1 + NUM_START_RETRIES)
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", f"{each:g}")


def _prepare_data_context(start_seconds: float) -> None:
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context = ray.data.DataContext.get_current()
    context.execution_no_progress_timeout_s = -1  # a slow model is no stall
    context.wait_for_min_actors_s = start_seconds  # then it is an error, not a wait
    context.enable_progress_bars = sys.stderr.isatty()
    context.target_max_block_size = BLOCK_MIB << 20
    context.memory_usage_poll_interval_s = None  # each open call would read its memory every second
