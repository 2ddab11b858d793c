"""Start ``kpod`` in a process of its own, and end it by a signal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

MOST_SECONDS = 20
"""Longest time from the signal to the end of the command."""


class Command:
    """A command whose temporary files are in a folder of its own.

    Args:
        folder: folder of output and temporary files; its path is short.
        *words: words after ``kpod``.
    """

    def __init__(self, folder, *words):
        folder.mkdir(exist_ok=True)
        self.temporary, self.errors = folder / "t", folder / "stderr"
        self.temporary.mkdir(exist_ok=True)
        # Ray puts its session into RAY_TMPDIR; paths of sockets must be short
        places = {"TMPDIR": str(self.temporary), "RAY_TMPDIR": "/tmp", "PYTHONPATH": os.getcwd()}
        with open(self.errors, "w") as errors, open(folder / "stdout", "w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kpod_ray", *map(str, words)],
                env=os.environ | places,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )

    def wait_until(self, is_reached):
        """Wait until a function returns something true, or the command ends; return its last result."""
        while not (result := is_reached()) and self.process.poll() is None:
            time.sleep(0.05)
        return result

    def catches_signals(self):
        """Return whether the command has installed its handlers."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        (caught,) = [int(line.split()[1], 16) for line in lines if line.startswith("SigCgt")]
        return caught >> (signal.SIGTERM - 1) & 1

    def end(self, signum):
        """Send a signal; check that nothing is left; return exit code, message and seconds."""
        own = psutil.Process(self.process.pid)
        processes = own.children(recursive=True)
        before = time.monotonic()
        own.send_signal(signum)
        code = self.process.wait(60)
        seconds = time.monotonic() - before
        _, alive = psutil.wait_procs(processes, timeout=1)
        left = [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
        assert [(process.pid, process.cmdline()) for process in left] == []
        assert list(self.temporary.iterdir()) == []
        lines = self.errors.read_text().splitlines()
        assert "Traceback" not in self.errors.read_text()
        told = [line for line in lines if line.startswith("kpod: ")]
        assert told in ([], lines[-1:])
        return code, "".join(told), seconds

    def finish(self):
        """Wait until the command has succeeded, and check that nothing is left."""
        assert self.process.wait(400) == 0, self.errors.read_text()[-3000:]
        assert list(self.temporary.iterdir()) == []
