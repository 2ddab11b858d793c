"""The program of the child process that sends a run's file to W&B while it is written.

It is run by its path, so that it imports nothing of ours. It ends when the run is sent, and when
whoever started it is gone, however that went: its standard input is then at its end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def _end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock would be held when the interpreter ends
        pass
    os.killpg(0, signal.SIGKILL)


def main(earlier: list[str], file: str) -> None:
    """Send ``.wandb`` files: what earlier parts of a run have left, then one until its run has ended."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from wandb.cli.cli import cli

    if earlier:
        cli(["sync", "--yes", "--include-online", *earlier], standalone_mode=False)
    cli(["beta", "sync", "--live", "--yes", file])


if __name__ == "__main__":
    main(sys.argv[1:-1], sys.argv[-1])
