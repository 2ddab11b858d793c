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
from collections.abc import Iterator, Mapping
from pathlib import Path

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
    "RAY_worker_niceness": "0",  # nor does whatever else runs there hold up every worker
    "RAY_enable_worker_prestart": "0",  # processes without the job's files serve nobody
    "RAY_prestart_worker_first_driver": "0",
}
"""Settings of Ray for several nodes on a machine of few cores."""
WAIT_SECONDS = 120.0


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
        self.address = f"--address=http://127.0.0.1:{port}"

    def job(self, verb: str, *arguments: str, token: str | None = None) -> tuple[int, str]:
        """Run ``ray job``; return its exit status and what it printed.

        Args:
            verb: such as ``submit``.
            arguments: what comes after it.
            token: instead of the cluster's own.
        """
        done = subprocess.run(
            [RAY, "job", verb, self.address, *arguments],
            env={**self.environment, "RAY_AUTH_TOKEN": token or self.token},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

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
    known = {**inherited, **STEADY, **auth, "OMP_NUM_THREADS": "1", **(environment or {})}
    port, dashboard, client = _free_ports(3)
    head = [
        *("--head", f"--port={port}", "--num-cpus=0", f"--temp-dir={folder}", "--no-monitor"),
        *("--include-dashboard=true", f"--dashboard-port={dashboard}"),
        f"--ray-client-server-port={client}",
    ]
    nodes = list[subprocess.Popen[bytes]]()
    try:
        nodes.append(_start(head, folder, known))
        _wait_for(port, nodes[0], folder)
        for name, cpus in groups.items():
            node = [f"--address=127.0.0.1:{port}", f"--num-cpus={cpus}", f"--labels=group={name}"]
            nodes.append(_start(node, folder, known))
        _wait_for(dashboard, nodes[0], folder)
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


def _wait_for(port: int, node: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until something listens on a port of a node."""
    for _ in range(int(10 * WAIT_SECONDS)):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.wait(0.1)
            break
    raise RuntimeError((folder / "start.log").read_text())


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
