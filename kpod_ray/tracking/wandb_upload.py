"""Sending a run's files to W&B: while it runs, by a child process, or later, by ``kpod sync``."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kpod_ray.config import load
from kpod_ray.errors import KpodError
from kpod_ray.storage.artifacts import Store
from kpod_ray.tracking.wandb_login import SignsOfLife, answers, base_url, has_wandb_login

SEND_SECONDS = 60.0
"""How long the end of a run waits for a W&B that answers to take the rest."""
LOG = "upload.log"


def files_of(store: Store, folder: str) -> Path:
    """Return where W&B's files of a run are: in its folder, or one of that name here."""
    return Path(store.root if store.is_local() else ".") / folder


class Upload:
    """A child process that sends a run's file to W&B while it is written.

    Files that earlier parts of the run have left unsent go first: steps are numbered in that order.

    Args:
        file: the run's ``.wandb`` file; what the child process says goes to ``upload.log`` beside it.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.url = file, base_url()
        self.signs = SignsOfLife(self.url)
        program = Path(__file__).with_name("wandb_upload_process.py")
        earlier = [other for other in _files(file.parents[1]) if not other.samefile(file)]
        files = [*(other for other in earlier if not _is_sent(other)), file]
        with open(file.with_name(LOG), "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(program), *map(str, files)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(file),
                start_new_session=True,  # Ctrl-C is for the run
            )

    def finish(self) -> str | None:
        """Wait for the rest to be sent if W&B is there; return why it isn't, or None.

        The run has ended before, so that its file is whole.
        """
        self.signs.stop()
        if self.process.poll() is None and self.signs.is_there() and answers(self.url):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(SEND_SECONDS)
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            reason = f"{self.url} doesn't answer or is slow"
        else:
            reason = _last_line(self.file.with_name(LOG).read_text(errors="replace"))
        assert self.process.stdin is not None
        self.process.stdin.close()
        return None if _is_sent(self.file) else reason


def place_of(run: str, overrides: Sequence[str]) -> Path:
    """Return the folder that holds W&B's files of a run, which is given as a config or as a folder.

    Raises:
        KpodError: There is no such folder and no such config, or a folder has overrides.
    """
    path = Path(run).expanduser()
    if path.is_dir():
        if overrides:
            raise KpodError(f"{run} is a folder; overrides belong to a config")
        return path
    config = load(run, overrides)
    return files_of(Store.at(config.storage), f"runs/{config.name}")


def send(folder: Path) -> str:
    """Send the files below a folder that W&B doesn't have; say in a line what was sent.

    Raises:
        KpodError: There is no file, no API key or no answer, or W&B didn't take a file.
    """
    files = _files(folder)
    if not files:
        raise KpodError(f"{folder} holds no W&B files; was tracking.mode disabled?")
    unsent = [file for file in files if not _is_sent(file)]
    if not unsent:
        return f"nothing to send: W&B has all {_count(files)} of {folder}"
    if not has_wandb_login():
        raise KpodError("no W&B API key; set WANDB_API_KEY or run wandb login")
    if not answers(base_url()):
        raise KpodError(f"W&B at {base_url()} doesn't answer; try again later")
    told = _sync(unsent)
    left = [file for file in unsent if not _is_sent(file)]
    if left:
        raise KpodError(f"W&B has not taken {_count(left)} of {folder}: {_last_line(told)}")
    pages = sorted(set(re.findall(r"View run\b.*? at (https?://\S+)", told)))
    return f"sent {_count(unsent)} of {folder}: {' '.join(pages) or base_url()}"


def _files(folder: Path) -> list[Path]:
    return sorted({file.resolve() for file in folder.rglob("*.wandb")})


def _sync(files: list[Path]) -> str:
    """Let W&B's own command send files; return what it said."""
    command = [sys.executable, "-m", "wandb", "sync", "--yes", "--include-online"]
    done = subprocess.run(
        [*command, *map(str, files)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(files[0]),
        check=False,
    )
    return done.stdout.decode(errors="replace")


def _environment(file: Path) -> dict[str, str]:
    """Return the environment of a command about a file: logs go beside it, and it is not silent."""
    others = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    return {**others, "WANDB_DIR": str(file.parents[2]), "WANDB_SILENT": "false"}


def _is_sent(file: Path) -> bool:
    return file.with_suffix(".wandb.synced").exists()


def _count(files: list[Path]) -> str:
    return f"{len(files)} W&B {'file' if len(files) == 1 else 'files'}"


def _last_line(text: str) -> str:
    """Return the last line that says something, without the key, which W&B would not print either."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["it said nothing"]
    key = os.environ.get("WANDB_API_KEY")
    return lines[-1].replace(key, "...") if key else lines[-1]
