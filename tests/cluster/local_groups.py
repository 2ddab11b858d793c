"""A Ray cluster of `ray start` processes on this machine, closed by a token."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

RAY = str(Path(sys.executable).with_name("ray"))


def free_ports(count):
    """Return ports of the loopback address that nobody listens on."""
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [server.getsockname()[1] for server in servers]


class Groups:
    """Starts a head without CPUs and a node for each group, and submits jobs to them.

    Args:
        groups: CPUs of the node with the label ``group=NAME``, by name.
        environment: further environment variables of the nodes.
    """

    def __init__(self, groups, environment):
        port, self.dashboard = free_ports(2)
        self.folder = tempfile.mkdtemp(prefix="kj")  # short: it holds sockets
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHONPATH"))
        }
        self.token = secrets.token_hex(32)
        auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        self.environment = inherited | auth | environment | {"OMP_NUM_THREADS": "1"}
        head = [
            *("--head", f"--port={port}", "--num-cpus=0", f"--temp-dir={self.folder}"),
            *("--include-dashboard=true", f"--dashboard-port={self.dashboard}"),
            f"--ray-client-server-port={free_ports(1)[0]}",
        ]
        self.processes = [self._start(*head)]
        address = f"--address=127.0.0.1:{port}"
        self._wait_for(port)
        for name, cpus in groups.items():
            self.processes.append(
                self._start(address, f"--num-cpus={cpus}", f"--labels=group={name}")
            )
        self._wait_for(self.dashboard)

    def _start(self, *arguments):
        agent, agent_grpc, metrics, runtime_env = free_ports(4)
        common = [
            *("--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1"),
            *("--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0"),
            f"--dashboard-agent-listen-port={agent}",
            f"--dashboard-agent-grpc-port={agent_grpc}",
            f"--metrics-export-port={metrics}",
            f"--runtime-env-agent-port={runtime_env}",
        ]
        with open(f"{self.folder}/start.log", "a") as log:
            return subprocess.Popen(
                [RAY, "start", *arguments, *common],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_for(self, port):
        for _ in range(600):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            if self.processes[0].poll() is not None:
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.processes[0].wait(0.1)
        raise RuntimeError(Path(f"{self.folder}/start.log").read_text())

    def job(self, *arguments, token=None):
        """Run `ray job` with arguments; return its exit status and what it printed."""
        environment = self.environment | ({"RAY_AUTH_TOKEN": token} if token else {})
        verb, *rest = arguments
        address = f"--address=http://127.0.0.1:{self.dashboard}"
        command = [RAY, "job", verb, address, *rest]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def uploaded(self):
        """Return the paths and sizes of the files that a job has uploaded, as they lie on the head."""
        root = next(Path(self.folder).glob("session_2*/runtime_resources/working_dir_files/*/"))
        files = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {str(path.relative_to(root)): path.stat().st_size for path in files}

    def stop(self):
        """End all processes of this cluster, and no others."""
        family = set()
        for process in self.processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                parent = psutil.Process(process.pid)
                family |= {parent, *parent.children(recursive=True)}
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for process in self.processes:
            process.wait()
        psutil.wait_procs(family, timeout=30)
        shutil.rmtree(self.folder, ignore_errors=True)
