"""Connect this process to Ray: join a cluster, or start a Ray on this machine.

A Ray that is started here requires the user's token (`authentication`), listens on the loopback address
only, and keeps its files where no other user has access (`own_folder`). Every way to connect also sets
how long Ray Data and Ray Train wait for actors and workers, and makes relative paths of a config hold in
the processes that Ray starts.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import ray
from ray._private import ray_constants
from ray.exceptions import AuthenticationError

from kpod_ray.cluster import interruption
from kpod_ray.cluster.access import authentication
from kpod_ray.cluster.access.current_cluster import address_file, running_address
from kpod_ray.cluster.access.own_folder import own_folder
from kpod_ray.config import ResourcesConfig
from kpod_ray.errors import KpodError

ENVIRONMENT = {
    # OpenMP threads that wait for work sleep: spinning threads of one process would take the cores
    # from the other processes of a small machine.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Seconds between two polls of the workers by Ray Train's controller (Ray's default: 2). The end of
    # a stage waits until the controller has seen the stage's checkpoint.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}
"""Environment variables for Ray and its processes; a value that the user has set is kept."""
LOOPBACK = {
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",
    "VLLM_HOST_IP": "127.0.0.1",
}
"""Environment variables with which torch and vLLM listen on the loopback address only."""
START_SECONDS = 600
"""Longest start of an actor on a cluster of fixed size; most of the time is the engine's start."""
GROWING_SECONDS = 3600
"""Longest start of an actor or worker on an autoscaling cluster, which starts a machine first."""
NUM_START_RETRIES = 3
"""Retries of a training whose workers don't start in time."""
BLOCK_MIB = 16
"""Largest Ray Data block; small, because a process that reads or splits blocks holds several."""


def connect(resources: ResourcesConfig) -> None:
    """Join the cluster of RAY_ADDRESS or of ``ray start``; without a cluster, start Ray here.

    With RAY_ADDRESS=local, Ray is always started on this machine. A Ray that is started here has no
    dashboard. A process that is connected already keeps its connection. In each case the start timeouts
    are set, as are environment variables of this process, such as those of `ENVIRONMENT`. The connection
    stays until ``ray.shutdown`` or the end of the process.

    Args:
        resources: ``autoscaling`` determines the start timeouts; ``local_cpus`` and ``object_store_gib``
            are the size of a Ray that is started here.

    Raises:
        KpodError: The cluster of RAY_ADDRESS or of ``ray start`` doesn't answer or refuses the
            connection; as in `authentication.turn_on` and `own_folder` for a Ray that is started here.
        Exception: Another error of ``ray.init``, such as a Ray that can't be started here.
    """
    if not _join(resources):
        # The dashboard's processes would take time of a small machine's few cores.
        _start(resources, include_dashboard=False)


def connect_with_dashboard(resources: ResourcesConfig) -> None:
    """Connect as `connect` does; a Ray that is started on this machine gets a dashboard.

    A Ray that runs already is joined as it is, also without a dashboard. Errors are as in `connect`.

    Ray Train frees the placement group of a killed training only after the dashboard has confirmed that
    the training was killed. Ray Train finds the dashboard by RAY_ADDRESS; without RAY_ADDRESS the search
    fails on a machine that runs several Rays. RAY_ADDRESS is therefore set while Ray starts, and has its
    former value afterwards.
    """
    if _join(resources):
        return
    port = _free_port()
    variables = {"RAY_ADDRESS": f"127.0.0.1:{port}", "RAY_GCS_SERVER_PORT": str(port)}
    with _environment(variables):
        _start(resources, include_dashboard=True)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the block; processes of a Ray that is started there keep them."""
    previous = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in previous.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _join(resources: ResourcesConfig) -> bool:
    """Join a running cluster, if there is one; return whether this process is connected afterwards."""
    os.environ.update({k: v for k, v in ENVIRONMENT.items() if k not in os.environ})
    logging.getLogger("ray._private.worker").addFilter(_is_of_use)
    if ray.is_initialized():  # by an earlier call, or by Ray, because this process runs a task
        _prepare(resources)
        return True
    address = _address()
    if address == "local":
        return False
    if not is_ray_job():  # in a job, the cluster has set the mode
        authentication.turn_on_to_join()
    try:
        ray.init(
            address=address,
            runtime_env=_folder_environment(),
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except ConnectionError as error:
        raise KpodError(
            f"no Ray cluster answers at {address}, or the cluster has another token; unset RAY_ADDRESS, "
            "or set RAY_AUTH_TOKEN to the cluster's token"
        ) from error
    except AuthenticationError as error:
        raise KpodError(
            f"this user has no token for the cluster at {address}; set RAY_AUTH_TOKEN to the cluster's "
            "token, or RAY_AUTH_MODE=disabled if the cluster requires none"
        ) from error
    _prepare(resources)
    return True


def _address() -> str:
    """Return the address of the cluster to join, or ``local`` if Ray is to be started here."""
    return os.environ.get("RAY_ADDRESS") or running_address(address_file())


def is_started_here() -> bool:
    """Return whether `connect` would start a Ray on this machine: there is no cluster to join.

    Raises:
        KpodError: Other users may change the file in which ``ray start`` keeps the cluster's address.
    """
    return not ray.is_initialized() and _address() == "local"


def num_local_cpus(resources: ResourcesConfig) -> int:
    """Return the logical CPUs of a Ray that is started on this machine."""
    return resources.local_cpus or max(4, os.cpu_count() or 1)


def _is_of_use(record: logging.LogRecord) -> bool:
    """Return False for Ray's warning that it handles no SIGTERM outside the main thread."""
    return "SIGTERM handler is not set" not in record.getMessage()


def _folder_environment() -> dict[str, Any]:
    """Return a runtime environment that moves a cluster's processes to this process's current folder.

    Relative paths in a config are relative to the driver's current folder, but the processes of a
    cluster start in the folder of ``ray start``, and stay in it on a node without the driver's folder.
    In a Ray job the environment is empty: all processes of a job start in the job's own folder.
    """
    if is_ray_job():
        return {}
    folder = os.getcwd()

    def enter() -> None:
        """Change to the driver's folder if this node has that folder."""
        if os.path.isdir(folder):
            os.chdir(folder)

    return {"worker_process_setup_hook": enter}


def _start(resources: ResourcesConfig, include_dashboard: bool) -> None:
    # Ray Train would start a process for each training that watches for preemption by a cloud; the
    # driver of a Ray on one machine is preempted together with its workers.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    authentication.turn_on()
    # Temporary files of Ray's processes are removed with those of this process (`scratch.own_folder`).
    folders = {"RAY_TMPDIR": own_folder(), "TMPDIR": tempfile.gettempdir()}
    with _on_loopback(), _environment(LOOPBACK | folders):
        ray.init(
            address="local",
            num_cpus=num_local_cpus(resources),
            object_store_memory=int(resources.object_store_gib * 2**30),
            include_dashboard=include_dashboard,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    _prepare(resources)


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Let a Ray that is started in the block listen on the loopback address only.

    A Ray that no other machine can join does so, as on Windows and macOS by default. Ray would replace a
    loopback address in its own parameter for the address by the machine's address.
    """
    can_be_joined = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = can_be_joined


def is_ray_job() -> bool:
    """Return whether ``ray job submit`` started this process."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


@contextlib.contextmanager
def joined(resources: ResourcesConfig) -> Iterator[None]:
    """Connect (see `connect`) for the duration of the block; an earlier connection stays open.

    At the end of the block, also after an exception, a Ray that was started here is ended, and a cluster
    that was joined is left and runs on. The context yields None. Errors are as in `connect`.
    """
    was_connected = ray.is_initialized()
    connect(resources)
    try:
        yield
    finally:
        if not was_connected:
            ray.shutdown()


def _prepare(resources: ResourcesConfig) -> None:
    """Set the start timeouts of Ray Data and Ray Train, and keep workers in the current folder."""
    # Ray Train and Ray Tune would move workers to the trial's folder, where relative paths break.
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    interruption.start()
    seconds = GROWING_SECONDS if resources.autoscaling else START_SECONDS
    _prepare_data_context(seconds)
    if resources.autoscaling:
        seconds_per_start = GROWING_SECONDS / (1 + NUM_START_RETRIES)
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", f"{seconds_per_start:g}")


def _prepare_data_context(start_seconds: float) -> None:
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context = ray.data.DataContext.get_current()
    context.execution_no_progress_timeout_s = -1  # off: a slow model is not a stalled pipeline
    # With a timeout, actors that can't start are an error; without one, Ray Data waits forever.
    context.wait_for_min_actors_s = start_seconds
    context.enable_progress_bars = sys.stderr.isatty()
    context.target_max_block_size = BLOCK_MIB << 20
    # Every running call would otherwise read the memory of its process once a second.
    context.memory_usage_poll_interval_s = None
