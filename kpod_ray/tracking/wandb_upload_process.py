"""The program of the child process that sends a run's file to W&B while it is written.

It is run by its path, so that it imports nothing of ours. Its standard input ends when whoever started
it is gone, however that went: then it sends what there is, for a while, and ends.
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
"""How long the rest of a run that was killed may take."""


def main(earlier: list[str], file: str) -> None:
    """Send ``.wandb`` files: what earlier parts of a run have left, then one until its run has ended."""
    is_left_alone = bool(earlier) and not _sync_while_watched(*SYNC, *earlier)
    if is_left_alone or not _sync_while_watched("beta", "sync", "--live", "--yes", file):
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run([*WANDB, *SYNC, *earlier, file], check=False, timeout=REST_SECONDS)


def _sync_while_watched(*arguments: str) -> bool:
    """Run a command of wandb to its end; return False, and end it, if nobody is there any more."""
    command = subprocess.Popen([*WANDB, *arguments], stdin=subprocess.DEVNULL)
    while command.poll() is None:
        readable, _, _ = select.select([0], [], [], 0.2)
        if readable and not os.read(0, 1):
            command.kill()
            command.wait()
            return False
    return True


if __name__ == "__main__":
    main(sys.argv[1:-1], sys.argv[-1])
