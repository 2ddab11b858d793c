"""Upload a run's files to W&B: by a child process during the run (`Upload`), or later (`send`).

W&B's library creates a file ``NAME.wandb.synced`` beside each file that is uploaded completely.
"""

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
from kpod_ray.storage.filesystems import local_path
from kpod_ray.storage.store import Store
from kpod_ray.tracking.wandb_login import SignsOfLife, answers, base_url, check_reachable

SEND_SECONDS = 60.0
"""Time limit for the rest of the upload at the end of a run, if W&B responds."""
LOG = "upload.log"
"""File with the output of the child process, beside the run's file."""


def files_of(store: Store, folder: str) -> Path:
    """Return the local folder whose subfolder ``wandb`` holds a run's W&B files; create nothing.

    In a local store, this is the absolute path of the run's folder. For an object store, the result is
    ``folder`` itself, relative to the current directory, because W&B writes to local files only.
    The argument ``folder`` is relative to the store's root, such as ``runs/NAME``.
    """
    return Path(store.root if store.is_local() else ".") / folder


class Upload:
    """A child process that uploads a run's file to W&B while the file is being written.

    The child process starts when the instance is created. Files of earlier parts of the run that aren't
    uploaded yet are uploaded first: W&B numbers steps in the order of arrival. If this process ends
    without `finish`, the child process uploads the rest with a time limit and ends.

    Args:
        file: the run's existing ``.wandb`` file, ``FOLDER/wandb/RUN/NAME.wandb``; the output of the
            child process goes to `LOG` beside the file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.url = base_url()
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
                start_new_session=True,  # else Ctrl-C in the terminal would end the upload, too
            )

    def finish(self) -> str | None:
        """Wait up to `SEND_SECONDS` for the rest of the upload, then kill the child process if needed.

        Call `finish` once, after `WandbRun.finish`, so that the file is complete. If W&B didn't respond
        in the last `SILENT_SECONDS`, or doesn't respond to a request of `finish` within
        `ANSWER_SECONDS`, the child process is killed at once.

        Returns:
            None if the run's own file is uploaded completely, else the reason in one line without the
            API key: the last line of the child's output, or that W&B doesn't answer or is slow.
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
    """Return the local folder of a run's W&B files, see `files_of`; its existence isn't checked.

    Args:
        run: path of an existing folder, which is returned (with ``~`` expanded), or else of the run's
            YAML config (``~`` isn't expanded).
        overrides: ``dotted.path=value`` texts that change settings of the config.

    Raises:
        KpodError: Overrides are given for a folder, the config can't be read or is invalid (see
            `config.load`), or the config's storage contains a key or names no file system.
    """
    path = local_path(run)
    if path.is_dir():
        if overrides:
            raise KpodError(f"{run} is a folder; overrides belong to a config")
        return path
    config = load(run, overrides)
    return files_of(Store.at(config.storage), f"runs/{config.name}")


def send(folder: Path) -> str:
    """Upload the W&B files below a folder that aren't uploaded yet, and wait for the upload's end.

    The ``.wandb`` files at any depth are sent in the order of their paths, without a time limit. A file
    with ``NAME.wandb.synced`` beside it is uploaded already. W&B is contacted only if a file is left.

    Returns:
        One line for the user: the number of files, and the pages of the runs or the server's address; or
        that W&B has all files already.

    Raises:
        KpodError: The folder holds no W&B files or doesn't exist. With files left to upload: as in
            `check_reachable`, or ``wandb sync`` leaves a file incomplete.
    """
    files = _files(folder)
    if not files:
        raise KpodError(f"{folder} holds no W&B files; was tracking.mode disabled?")
    unsent = [file for file in files if not _is_sent(file)]
    if not unsent:
        return f"nothing to send: W&B has all {_count(files)} of {folder}"
    check_reachable()
    output = _sync(unsent)
    left = [file for file in unsent if not _is_sent(file)]
    if left:
        raise KpodError(f"W&B has not taken {_count(left)} of {folder}: {_last_line(output)}")
    pages = sorted(set(re.findall(r"View run\b.*? at (https?://\S+)", output)))
    return f"sent {_count(unsent)} of {folder}: {' '.join(pages) or base_url()}"


def _files(folder: Path) -> list[Path]:
    return sorted({file.resolve() for file in folder.rglob("*.wandb")})


def _sync(files: list[Path]) -> str:
    """Upload files by W&B's command ``wandb sync``; return the output of the command."""
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
    """Return the environment of a W&B command for a file: logs beside the file, and output not silent.

    ``WANDB_SERVICE`` is left out: with it, the command would use the W&B process of the run.
    """
    others = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    return {**others, "WANDB_DIR": str(file.parents[2]), "WANDB_SILENT": "false"}


def _is_sent(file: Path) -> bool:
    return file.with_suffix(".wandb.synced").exists()


def _count(files: list[Path]) -> str:
    return f"{len(files)} W&B {'file' if len(files) == 1 else 'files'}"


def _last_line(text: str) -> str:
    """Return the last line that isn't blank, with the API key replaced by ``...``."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["it said nothing"]
    key = os.environ.get("WANDB_API_KEY")
    return lines[-1].replace(key, "...") if key else lines[-1]
