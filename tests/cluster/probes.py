"""Requests of somebody without a token: to a port, and as a driver of Ray."""

import contextlib
import subprocess
import sys

import grpc
import httpx
import psutil

SECONDS = 3.0
"""Wait for the first answer of a port that may be no server of the kind."""
MOST_SECONDS = 60.0
"""Wait for the answer of a server, which may be starting."""
PATHS = ("/", "/api/jobs/", "/api/job_agent/jobs/", "/get_or_create_runtime_env")
"""Paths of the dashboard, of its agent and of the runtime environment agent that start programs."""
METHODS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.JobInfoGcsService/GetAllJobInfo",
    "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "/ray.rpc.NodeManagerService/RequestWorkerLease",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.CoreWorkerService/PushTask",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.ObjectManagerService/Push",
    "/ray.rpc.ReporterService/GetTraceback",
)
"""Methods of Ray's gRPC servers."""
NO_SERVER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
"""Answers, if that, of a port that doesn't speak gRPC."""
DRIVER = """
import sys, pathlib, ray
ray.init(address=sys.argv[1], log_to_driver=False)
file = pathlib.Path(sys.argv[2])
ray.get(ray.remote(lambda: file.touch()).remote())
"""


def listeners(process):
    """Return the addresses that a process and its descendants listen on: (host, port) -> name."""
    found = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= {
                    (one.laddr.ip, one.laddr.port): member.name()
                    for one in member.net_connections("inet")
                    if one.status == psutil.CONN_LISTEN
                }
    return found


def post(port, path, file):
    """Try to submit a job that creates a file; return the status, or None if it isn't answered."""
    job = {"entrypoint": f"touch {file}"}
    try:
        return httpx.post(f"http://127.0.0.1:{port}{path}", json=job, timeout=SECONDS).status_code
    except httpx.HTTPError:
        return None


def call(port, method, token=None, seconds=MOST_SECONDS):
    """Call a method of a gRPC server with an empty message; return the status."""
    metadata = [("authorization", f"Bearer {token}")] if token else None
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary(method)(b"", timeout=seconds, metadata=metadata)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def answers(port, file):
    """Return what a port answers to requests to start programs: (path or method, status) of each.

    A port that doesn't answer the first request of a kind gets no second one of the kind.
    """
    found = []
    for path in PATHS:
        found.append((path, post(port, path, file)))
        if found[-1][1] is None:
            break
    found.append((METHODS[0], call(port, METHODS[0], seconds=SECONDS)))
    if found[-1][1] not in NO_SERVER:
        found += [(method, call(port, method)) for method in METHODS[1:]]
    return found


def drive(address, file, environment):
    """Start a driver that would run a task which creates a file.

    Ray takes a loopback address as it is only where no other machine can join.
    """
    environment = {**environment, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, address, str(file)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
