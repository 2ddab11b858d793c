"""Start a Ray cluster with ``ray start`` on this machine and submit jobs to the cluster.

The cluster has a head and one node per group, each in a process of its own, and requires a token. Used
by `benchmarks.jobs`, `benchmarks.three_ways` and by tests.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import psutil

RAY = str(Path(sys.executable).with_name("ray"))
REPOSITORY = Path(__file__).parents[1]
UPLOAD = (
    *("--runtime-env", str(REPOSITORY / "configs/cluster/runtime_env.yaml")),
    *("--working-dir", str(REPOSITORY)),
)
"""Options of ``ray job submit`` that upload this clone."""
STEADY = {
    # A machine with few cores may stall or start slowly; Ray would take its nodes for dead.
    "RAY_health_check_failure_threshold": "20",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "300",
    "RAY_raylet_start_wait_time_s": "120",
    # Workers have the priority of other processes, so that other load can't hold up all workers.
    "RAY_worker_niceness": "0",
    # Workers that start before a job has uploaded its files can't run the job.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
}
"""Environment variables of Ray for several nodes on a machine with few cores."""
WAIT_SECONDS = 150.0
"""Timeout for the start of a node."""
_STARTED = "Ray runtime started."
"""Line that ``ray start`` prints when a node has joined the cluster."""


class LocalGroups:
    """A running cluster with a head and a node per group; submits and stops jobs.

    Args:
        folder: folder of the cluster's own files.
        driver_port: port that drivers connect to.
        port: port of the dashboard.
        environment: environment variables of the nodes and of ``ray job``, with the token.
    """

    def __init__(
        self, folder: Path, driver_port: int, port: int, environment: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self.driver_address = f"127.0.0.1:{driver_port}"
        self.environment = environment
        self.token = environment["RAY_AUTH_TOKEN"]
        self.address = f"http://127.0.0.1:{port}"

    def submit(self, *arguments: str) -> tuple[int, str]:
        """Run ``ray job submit`` with this clone; return the exit status and the output."""
        done = subprocess.run(
            [RAY, "job", "submit", f"--address={self.address}", *UPLOAD, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def ask(self, verb: str, path: str = "", token: str | None = None) -> httpx.Response:
        """Send a request to the cluster's jobs API.

        Args:
            verb: HTTP method.
            path: path below ``/api/jobs/``.
            token: token to send; None sends the cluster's token.
        """
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return httpx.request(verb, f"{self.address}/api/jobs/{path}", headers=headers, timeout=60)

    def stop(self, job: str) -> str:
        """Stop a job as ``ray job stop`` does, wait until the job has ended, and return its status."""
        self.ask("POST", f"{job}/stop").raise_for_status()
        while True:
            status: str = self.ask("GET", job).json()["status"]
            if status not in ("PENDING", "RUNNING"):
                return status
            time.sleep(0.1)

    def uploaded(self) -> dict[str, int]:
        """Return the files that a job has uploaded to the head: relative path -> size in bytes."""
        root = next(self.folder.glob("session_2*/runtime_resources/working_dir_files/*/"))
        files = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {str(path.relative_to(root)): path.stat().st_size for path in files}


@contextlib.contextmanager
def local_groups(
    groups: Mapping[str, int],
    environment: Mapping[str, str] | None = None,
    num_head_cpus: int = 0,
) -> Iterator[LocalGroups]:
    """Start a cluster for the block; all its processes end with the block.

    Args:
        groups: name of a group -> CPUs of its node, which has the label ``group=NAME``.
        environment: further environment variables of the cluster's processes.
        num_head_cpus: CPUs of the head.

    Raises:
        RuntimeError: A node doesn't start.
    """
    folder = Path(tempfile.mkdtemp(prefix="kj"))  # a short path: paths of sockets are limited
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHONPATH"))}
    # A job runs ``python``, which must be the one of this environment.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**inherited, **STEADY, **auth, "OMP_NUM_THREADS": "1", "PATH": path}
    variables |= environment or {}
    port, dashboard, client = _free_ports(3)
    head = [
        *("--head", f"--port={port}", f"--num-cpus={num_head_cpus}"),
        *(f"--temp-dir={folder}", "--no-monitor"),
        *("--include-dashboard=true", f"--dashboard-port={dashboard}"),
        f"--ray-client-server-port={client}",
    ]
    nodes = list[subprocess.Popen[bytes]]()
    try:
        nodes.append(_start(head, folder, variables))
        _wait_for_nodes(nodes, folder)
        for name, cpus in groups.items():
            node = [f"--address=127.0.0.1:{port}", f"--num-cpus={cpus}", f"--labels=group={name}"]
            nodes.append(_start(node, folder, variables))
            _wait_for_nodes(nodes, folder)  # one by one: the start of a node keeps two cores busy
        yield LocalGroups(folder, port, dashboard, variables)
    finally:
        _stop(nodes)
        shutil.rmtree(folder, ignore_errors=True)


def _start(
    arguments: list[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    agent, agent_grpc, metrics, runtime_env = _free_ports(4)
    common = [
        *("--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1"),
        *("--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0"),
        f"--dashboard-agent-listen-port={agent}",
        f"--dashboard-agent-grpc-port={agent_grpc}",
        f"--metrics-export-port={metrics}",
        f"--runtime-env-agent-port={runtime_env}",
        "--include-log-monitor=false",  # the logs of workers aren't shown by drivers
    ]
    with open(folder / "start.log", "a") as log:
        return subprocess.Popen(
            [RAY, "start", *arguments, *common],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _free_ports(count: int) -> list[int]:
    """Return a number of different free ports of the loopback address."""
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [server.getsockname()[1] for server in servers]


def _wait_for_nodes(nodes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    """Wait until all nodes have joined the cluster.

    Raises:
        RuntimeError: A node has ended, or didn't join within `WAIT_SECONDS`.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while (log := (folder / "start.log").read_text()).count(_STARTED) < len(nodes):
        if time.monotonic() > deadline or any(node.poll() is not None for node in nodes):
            raise RuntimeError(log)
        time.sleep(0.1)


def _stop(nodes: list[subprocess.Popen[bytes]]) -> None:
    """Kill the processes of the nodes and all their descendants, and no other process."""
    family = set[psutil.Process]()
    for node in nodes:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(node.pid)
            family |= {parent, *parent.children(recursive=True)}
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    for node in nodes:
        node.wait()
    psutil.wait_procs(family, timeout=30)
