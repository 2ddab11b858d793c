"""A Ray cluster of ``ray start`` on this machine, closed by a token, and jobs submitted to it.

The nodes are processes of their own, a head without CPUs and one node a group.
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
"""Options of ``ray job submit`` for a job of this clone."""
STEADY = {
    "RAY_health_check_failure_threshold": "20",  # a machine that stalls is no dead node
    "RAY_gcs_rpc_server_reconnect_timeout_s": "300",
    "RAY_raylet_start_wait_time_s": "120",  # nor is it one that doesn't start
    "RAY_worker_niceness": "0",  # nor does whatever else runs there hold up every worker
    "RAY_enable_worker_prestart": "0",  # processes without the job's files serve nobody
    "RAY_prestart_worker_first_driver": "0",
}
"""Settings of Ray for several nodes on a machine of few cores."""
WAIT_SECONDS = 150.0
_STARTED = "Ray runtime started."
"""What ``ray start`` says when a node is one of the cluster's."""


class LocalGroups:
    """Jobs on a head without CPUs and a node for each group.

    Args:
        folder: of the cluster's own files.
        port: of the dashboard.
        environment: of the nodes and of ``ray job``; holds the token.
    """

    def __init__(self, folder: Path, port: int, environment: Mapping[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.token = environment["RAY_AUTH_TOKEN"]
        self.address = f"http://127.0.0.1:{port}"

    def submit(self, *arguments: str) -> tuple[int, str]:
        """Run ``ray job submit`` for a job of this clone; return its exit status and what it printed."""
        done = subprocess.run(
            [RAY, "job", "submit", f"--address={self.address}", *UPLOAD, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def ask(self, verb: str, path: str = "", token: str | None = None) -> httpx.Response:
        """Ask the cluster's jobs API, with another token if one is given."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return httpx.request(verb, f"{self.address}/api/jobs/{path}", headers=headers, timeout=60)

    def stop(self, job: str) -> str:
        """Stop a job as ``ray job stop`` does, wait until it is over, and return its status."""
        self.ask("POST", f"{job}/stop").raise_for_status()
        while True:
            status: str = self.ask("GET", job).json()["status"]
            if status not in ("PENDING", "RUNNING"):
                return status
            time.sleep(0.1)

    def uploaded(self) -> dict[str, int]:
        """Return the paths and bytes of the files that a job has uploaded, as they lie on the head."""
        root = next(self.folder.glob("session_2*/runtime_resources/working_dir_files/*/"))
        files = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {str(path.relative_to(root)): path.stat().st_size for path in files}


@contextlib.contextmanager
def local_groups(
    groups: Mapping[str, int], environment: Mapping[str, str] | None = None
) -> Iterator[LocalGroups]:
    """Start the cluster; it ends with the block.

    Args:
        groups: CPUs of the node with the label ``group=NAME``, by name.
        environment: further environment variables of its processes.

    Raises:
        RuntimeError: A node doesn't start.
    """
    folder = Path(tempfile.mkdtemp(prefix="kj"))  # short: it holds sockets
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHONPATH"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # of a job's ``python``
    known = {**inherited, **STEADY, **auth, "OMP_NUM_THREADS": "1", "PATH": path}
    known |= environment or {}
    port, dashboard, client = _free_ports(3)
    head = [
        *("--head", f"--port={port}", "--num-cpus=0", f"--temp-dir={folder}", "--no-monitor"),
        *("--include-dashboard=true", f"--dashboard-port={dashboard}"),
        f"--ray-client-server-port={client}",
    ]
    nodes = list[subprocess.Popen[bytes]]()
    try:
        nodes.append(_start(head, folder, known))
        _wait_for_nodes(nodes, folder)
        for name, cpus in groups.items():
            node = [f"--address=127.0.0.1:{port}", f"--num-cpus={cpus}", f"--labels=group={name}"]
            nodes.append(_start(node, folder, known))
            _wait_for_nodes(nodes, folder)  # one after the other: a start takes all of two cores
        yield LocalGroups(folder, dashboard, known)
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
        "--include-log-monitor=false",  # drivers show no worker's log
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
    """Return ports of the loopback address that nobody listens on."""
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [server.getsockname()[1] for server in servers]


def _wait_for_nodes(nodes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    """Wait until each node, and the head's dashboard, say that they are there."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (told := (folder / "start.log").read_text()).count(_STARTED) < len(nodes):
        if time.monotonic() > deadline or any(node.poll() is not None for node in nodes):
            raise RuntimeError(told)
        time.sleep(0.1)


def _stop(nodes: list[subprocess.Popen[bytes]]) -> None:
    """End all processes of a cluster, and no others."""
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
