"""Program of the child process that uploads a run's file to W&B while the file is being written.

The program is run by its path, so that it doesn't import kpod_ray with its packages. Its standard input
is a pipe from the parent process. The pipe closes when the parent ends in any way, also by SIGKILL; the
program then uploads the rest within `REST_SECONDS` and ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys

WANDB = (sys.executable, "-m", "wandb")
SYNC = ("sync", "--yes", "--include-online")
REST_SECONDS = 60.0
"""Time limit for the rest of the upload after the parent process was killed."""


def main(earlier: list[str], file: str) -> None:
    """Upload ``.wandb`` files: those of earlier parts of a run, then a growing one until its run ends.

    Standard input must be a pipe to which the parent process writes nothing. If the pipe closes first,
    because the parent has ended, all files are synced once more with the time limit `REST_SECONDS`. A
    failed upload raises nothing: W&B's commands write the reason to the output.

    Args:
        earlier: paths of complete files, in the order in which they are uploaded; may be empty.
        file: path of the file that the run is writing.
    """
    is_orphaned = bool(earlier) and not _sync_while_watched(*SYNC, *earlier)
    if is_orphaned or not _sync_while_watched("beta", "sync", "--live", "--yes", file):
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run([*WANDB, *SYNC, *earlier, file], check=False, timeout=REST_SECONDS)


def _sync_while_watched(*arguments: str) -> bool:
    """Run a wandb command; return True at its end, or kill it and return False if the parent ends."""
    command = subprocess.Popen([*WANDB, *arguments], stdin=subprocess.DEVNULL)
    while command.poll() is None:
        readable, _, _ = select.select([0], [], [], 0.2)
        # the parent writes nothing: a readable pipe without data is a closed pipe
        if readable and not os.read(0, 1):
            command.kill()
            command.wait()
            return False
    return True


if __name__ == "__main__":
    main(sys.argv[1:-1], sys.argv[-1])
