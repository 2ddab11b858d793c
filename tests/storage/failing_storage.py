"""Storages that fail: kpod run by another user, servers that don't answer, disks without writing."""

import contextlib
import json
import os
import socket
import subprocess
import sys

NOBODY = 65534
AS_NOBODY = f"""
import contextlib, encodings.utf_8_sig, io, json, os, sys
import kpod_ray.models.sources, kpod_ray.pipeline.checks, kpod_ray.pipeline.export
import kpod_ray.storage.user_files
from kpod_ray.cli.main import main

def told(arguments):
    text = io.StringIO()
    code = 0
    with contextlib.redirect_stderr(text), contextlib.redirect_stdout(text):
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code
    return [code or 0, text.getvalue()]

commands = json.loads(sys.argv[1])
for arguments in commands:  # loads what nobody may not read
    told([arguments[0], "--help"])
    if arguments[0] in ("show", "doctor"):
        told(arguments)
os.setgid({NOBODY})
os.setuid({NOBODY})
for arguments in commands:
    print(json.dumps(told(arguments)))
"""


def as_nobody(*commands):
    """Run command lines of kpod as a user without rights; return exit code and text of each.

    Those that only look are run before as the user of the tests, too.
    """
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, json.dumps(commands)],
        env={**os.environ, "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextlib.contextmanager
def silent_server():
    """A server that takes connections and never answers; yields its host and port."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def closed_port():
    """Return host and port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@contextlib.contextmanager
def read_only(folder):
    """Mount a folder over itself, read-only; yields whether this machine lets us."""
    commands = (
        ["mount", "--bind", str(folder), str(folder)],
        ["mount", "-o", "remount,ro,bind", str(folder)],
    )
    try:
        yield all(
            not subprocess.run(c, capture_output=True, check=False).returncode for c in commands
        )
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)
