"""A ``kpod run`` of `benchmarks.chaos` as a process, its endpoint, and what is left of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

CONFIG = "configs/smoke.yaml"
ENDPOINT = ("127.7.7.7", 18743)
"""A loopback address that nothing else uses; the address is a part of the fingerprint."""
_ENDPOINT_TEACHER = (
    f"teacher={{kind: endpoint, model: m, base_url: 'http://{ENDPOINT[0]}:{ENDPOINT[1]}/v1', "
    "max_concurrent: 2, samples: {per_question: 2}, fallback: reference}"
)
VARIANTS: Mapping[str, Sequence[str]] = {
    "vllm": ("teacher.samples.per_question=2",),
    "endpoint": (_ENDPOINT_TEACHER, "evaluation.backend=transformers"),
}
"""Variant -> overrides of `CONFIG`."""
_RAY_FOLDER = re.compile(r"ray(-\d+)?")
GONE_SECONDS = 20
"""Time in which the processes of a run that has ended must be gone."""


class Run:
    """A ``kpod run`` as a process, whose output is read as it comes."""

    def __init__(self, variant: str, storage: Path, until: str) -> None:
        settings = [CONFIG, f"storage={storage}", *VARIANTS[variant]]
        command = [sys.executable, "-m", "kpod_ray", "run", *settings, "--until", until]
        environment = {**os.environ, "RAY_ADDRESS": "local", "PYTHONUNBUFFERED": "1"}
        self.until = until
        self.started = time.monotonic()
        self.lines: list[tuple[float, str]] = []
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append((time.monotonic() - self.started, line.rstrip()))

    @property
    def text(self) -> str:
        """The output so far."""
        return "\n".join(line for _, line in self.lines)

    def wait_for(self, phase: str) -> bool:
        """Wait until the run makes an artifact; return False if it ends before."""
        while phase != "start" and not any(line == f"{phase} ..." for _, line in self.lines):
            if self.process.poll() is not None:
                return False
            time.sleep(0.02)
        return True

    def end(self, most_seconds: float) -> int | None:
        """Wait for the end; return the exit status, or None if the run hangs and was killed."""
        try:
            self.process.wait(max(1.0, most_seconds - (time.monotonic() - self.started)))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None
        self._reader.join(5)
        return self.process.returncode


def command_line(process: psutil.Process) -> str:
    """Return the beginning of a process's command line."""
    return " ".join(process.cmdline())[:60].strip()


def left_processes() -> list[str]:
    """Return the processes that are still there some seconds after the end of all runs; kill them."""
    deadline = time.monotonic() + GONE_SECONDS
    while (others := _others()) and time.monotonic() < deadline:
        time.sleep(0.2)
    names = []
    for process in others:
        with contextlib.suppress(psutil.Error):
            names.append(command_line(process))
            process.kill()
    return [f"left running: {', '.join(names)}"] if names else []


def _others() -> list[psutil.Process]:
    """Return the living processes of this PID namespace but its init, this one and its children."""
    own = {1, os.getpid()}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid not in own and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def left_files() -> list[str]:
    """Return what is left in /tmp, but Ray's logs, and in /dev/shm."""
    left = [
        f"/tmp/{path.name}"
        for path in Path("/tmp").iterdir()
        if not _RAY_FOLDER.fullmatch(path.name)
    ]
    left += [str(path) for path in Path("/dev/shm").iterdir()]
    return [f"left behind: {', '.join(left)}"] if left else []


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Serve an endpoint whose answers depend on the question alone, in half a second each."""

    class Handler(BaseHTTPRequestHandler):
        """Answers chats; there is no list of models."""

        def do_GET(self) -> None:
            """Refuse."""
            self._send(404, {})

        def do_POST(self) -> None:
            """Answer a chat."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(0.5)
            number = int(hashlib.sha256(body).hexdigest()[:4], 16)
            message = {"content": f"It is {number} and {number}. The answer is {number}."}
            choice = {"message": message, "finish_reason": "stop"}
            usage = {"completion_tokens": 12, "prompt_tokens": 34}
            self._send(200, {"choices": [choice], "usage": usage})

        def _send(self, status: int, content: object) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(ENDPOINT, Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
