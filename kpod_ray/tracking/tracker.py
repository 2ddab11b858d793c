"""The tracker of a run: a queue and a thread that writes metrics and summaries to W&B's local files.

Calls of the tracker never wait for W&B, so that a slow disk or network doesn't slow training down. Every
exception in the thread is caught: it switches tracking off with a warning.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, Protocol

import psutil

from kpod_ray.config import RunConfig
from kpod_ray.tracking.summaries import PhaseSummary
from kpod_ray.tracking.wandb_login import has_wandb_login
from kpod_ray.tracking.wandb_run import WandbRun
from kpod_ray.tracking.wandb_upload import Upload

log = logging.getLogger("kpod")
MAX_WAITING = 10_000
"""Entries that may wait in the queue; further entries are dropped and counted."""
WRITE_SECONDS = 60.0
"""Time limit for writing the queue to disk at the end of a run."""
SERVICE = "wandb-core"
"""Name of the process that W&B's library starts on this machine to write files."""
ERROR_REPORTING = "WANDB_ERROR_REPORTING"
"""Environment variable that switches the error reports of W&B's library to its maker. The reports are
switched off, because they would make the process wait for a server at exit."""
_MODES: dict[str, Literal["offline", "disabled"]] = {"offline": "offline", "disabled": "disabled"}
"""Values of the environment variable ``WANDB_MODE`` that ``tracking.mode: auto`` follows."""


class Tracker(Protocol):
    """Receives the metrics and summaries of a run. Only `finish` blocks; no method raises.

    `finish` is called once, as the last method.
    """

    def log(self, metrics: Mapping[str, float]) -> None:
        """Log metrics by name, as one row; return without waiting.

        Metrics with an x-axis in `wandb_run.X_AXES` (``train/...``, ``weigh/...`` and others) need the
        value of the axis, such as ``train/train_step``, in the same call. The mapping is copied. After a
        failure of W&B, metrics are lost.
        """
        ...

    def log_summary(self, key: str, collect: Callable[[], PhaseSummary]) -> None:
        """Log a summary, unless a summary with this key was logged before; return without waiting.

        A run that is resumed remembers the keys that it logged before.

        Args:
            key: identifies the summarised thing and its version, such as the folder of an artifact.
            collect: builds the summary; is called later in the tracker's thread, also during `finish`,
                and only if the summary is logged. An exception switches tracking off.
        """
        ...

    def finish(self, exit_code: int = 0) -> None:
        """Write what was logged and close the run; an exit code other than 0 marks the run as failed.

        The method is called once, as the last one, and blocks for at most the time limits of the
        tracker (`WandbTracker.finish`).
        """
        ...


class NullTracker:
    """A tracker that does nothing, for ``tracking.mode: disabled``."""

    def log(self, metrics: Mapping[str, float]) -> None:
        """Do nothing; the metrics are dropped."""

    def log_summary(self, key: str, collect: Callable[[], PhaseSummary]) -> None:
        """Do nothing; ``collect`` isn't called."""

    def finish(self, exit_code: int = 0) -> None:
        """Do nothing, and don't wait."""


class WandbTracker:
    """A tracker that writes one W&B run in a thread. The first failure switches the tracker off.

    The thread, a daemon, starts when the instance is created. A failure is logged as one warning; later
    entries are dropped.

    Args:
        open_run: opens the W&B run; is called in the thread, because opening may take long.
        write_seconds: seconds that `finish` waits for the thread to write the waiting entries, and once
            more after W&B's process on this machine was killed.
    """

    def __init__(
        self, open_run: Callable[[], WandbRun], write_seconds: float = WRITE_SECONDS
    ) -> None:
        self._write_seconds = write_seconds
        self._waiting: queue.SimpleQueue[Callable[[WandbRun], None] | None] = queue.SimpleQueue()
        self._open_run = open_run
        self._run: WandbRun | None = None
        self._is_off = False
        self._exit_code = 0
        self.num_dropped = 0
        """Entries dropped because `MAX_WAITING` entries were waiting."""
        self._thread = threading.Thread(target=self._work, name="kpod-tracking", daemon=True)
        self._thread.start()

    def log(self, metrics: Mapping[str, float]) -> None:
        """Queue a copy of the metrics as one row (see `Tracker.log`); return without waiting.

        The metrics are dropped if the tracker is off, or if `MAX_WAITING` entries are waiting.
        """
        row = dict(metrics)  # a copy: the caller may change its mapping before the thread reads it
        self._put(lambda run: run.log(row))

    def log_summary(self, key: str, collect: Callable[[], PhaseSummary]) -> None:
        """Queue the logging of a summary (see `Tracker.log_summary`); return without waiting.

        The summary is dropped if the tracker is off, or if `MAX_WAITING` entries are waiting.
        """
        self._put(lambda run: run.log_summary(key, collect))

    def _put(self, write: Callable[[WandbRun], None]) -> None:
        if self._is_off:
            return
        if self._waiting.qsize() >= MAX_WAITING:
            self.num_dropped += 1
        else:
            self._waiting.put(write)

    def _work(self) -> None:
        has_failed = False
        try:
            self._run = self._open_run()
            while (write := self._waiting.get()) is not None:
                write(self._run)
        except Exception as error:  # noqa: BLE001 - tracking must not stop training
            has_failed = True
            self._turn_off(f"W&B is off from here on: {error}")
        try:
            if self._run is not None:
                self._run.finish(1 if has_failed else self._exit_code)
        except Exception as error:  # noqa: BLE001 - tracking must not stop training
            self._turn_off(f"W&B did not finish: {error}")

    def _turn_off(self, reason: str) -> None:
        if not self._is_off:
            log.warning("%s", " ".join(reason.split()))
        self._is_off = True

    def finish(self, exit_code: int = 0) -> None:
        """Write the waiting entries, close the run, and wait for the upload, each with a time limit.

        If the writing takes ``write_seconds``, W&B's process on this machine is killed, and the method
        waits for ``write_seconds`` once more. The upload may take the time of `Upload.finish`. Dropped
        entries or an incomplete upload cause a warning; nothing is raised. An exit code other than 0
        marks the run as failed. After an earlier failure, the run is closed already, and no further
        warning follows.
        """
        self._exit_code = exit_code
        self._waiting.put(None)
        try:
            self._end_thread()
            if self._run is not None and self._run.upload is not None:
                self._end_upload(self._run.upload, self._run.file.parents[2])
        except Exception as error:  # noqa: BLE001 - tracking must not stop training
            self._turn_off(f"W&B did not finish: {error}")

    def _end_thread(self) -> None:
        """Wait for the thread to end; if W&B's process hangs, kill that process, and wait again."""
        self._thread.join(self._write_seconds)
        if self._thread.is_alive():
            self._turn_off("W&B's process on this machine doesn't answer; it is ended")
            _end_service()
            self._thread.join(self._write_seconds)
        if self.num_dropped:
            self._turn_off(f"W&B was too slow: {self.num_dropped:,} entries are not in its files")

    def _end_upload(self, upload: Upload, folder: Path) -> None:
        reason = upload.finish()
        if reason is not None:
            self._turn_off(f"W&B has not all of this run ({reason}); send it: kpod sync {folder}")


def open_tracker(config: RunConfig, folder: Path) -> Tracker:
    """Open the tracker of a run, without waiting for W&B; the caller must call its `finish`.

    The mode is ``tracking.mode`` of the config: ``disabled`` gives a `NullTracker`, any other mode a
    `WandbTracker`. The mode ``auto`` becomes the value of the environment variable ``WANDB_MODE`` if
    that is ``offline`` or ``disabled``. Files are uploaded during the run with ``online``, and with
    ``auto`` if `has_wandb_login` is true; otherwise they stay on this machine. A failure to open the run
    is a warning, not an error.

    Args:
        config: config of the run.
        folder: local folder of the run, see `wandb_upload.files_of`. Its last part is the name of the
            run on W&B; W&B's files are written to its subfolder ``wandb``.
    """
    mode = config.tracking.mode
    if mode == "auto":
        mode = _MODES.get(os.environ.get("WANDB_MODE", ""), mode)
    if mode == "disabled":
        return NullTracker()

    def open_run() -> WandbRun:
        """Look for an API key and open the run; both may take long."""
        os.environ.setdefault(ERROR_REPORTING, "false")
        is_online = mode == "online" or (mode == "auto" and has_wandb_login())
        return WandbRun(config, folder, is_online)

    return WandbTracker(open_run)


@contextlib.contextmanager
def tracked(config: RunConfig, folder: Path) -> Iterator[Tracker]:
    """Open the tracker of a run (see `open_tracker`) for a ``with`` block, and finish it at the end.

    The block must not call `Tracker.finish` itself. The end waits as `WandbTracker.finish` does. An
    exception in the block marks the run as failed on W&B, and is passed on.
    """
    tracker = open_tracker(config, folder)
    exit_code = 1
    try:
        yield tracker
        exit_code = 0
    finally:
        tracker.finish(exit_code)


def _end_service() -> None:
    """Kill the W&B process that this process has started; a later run starts a new one."""
    import wandb

    for child in psutil.Process().children():
        if child.name() == SERVICE:
            child.kill()
    # teardown fails, because its process is gone; without teardown, wandb would wait for the process
    # at exit
    with contextlib.suppress(Exception):
        wandb.teardown()
