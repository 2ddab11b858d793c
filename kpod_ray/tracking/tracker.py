"""Where the metrics of a run go: a thread of its own writes them, and nobody waits for it."""

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
"""Entries that may wait to be written; further ones are dropped and counted."""
WRITE_SECONDS = 60.0
SERVICE = "wandb-core"
ERROR_REPORTING = "WANDB_ERROR_REPORTING"
"""Whether W&B's library reports on itself; it would wait for its server as the process ends."""
_MODES: dict[str, Literal["offline", "disabled"]] = {"offline": "offline", "disabled": "disabled"}
"""Values of ``WANDB_MODE`` that ``auto`` obeys."""


class Tracker(Protocol):
    """Where metrics of a run go. No method waits, but for `finish`."""

    def log(self, metrics: Mapping[str, float]) -> None:
        """Take metrics; those with ``train/train_step`` form the training curves."""
        ...

    def log_summary(self, key: str, collect: Callable[[], PhaseSummary]) -> None:
        """Take what is to be told of something finished, once a run, resumed or not.

        Args:
            key: says of what, and of which version of it.
            collect: is called in another thread, and not at all if it isn't needed.
        """
        ...

    def finish(self, exit_code: int = 0) -> None:
        """Close the run; other than 0 is a failure."""
        ...


class NullTracker:
    """Takes everything and keeps nothing."""

    def log(self, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def log_summary(self, key: str, collect: Callable[[], PhaseSummary]) -> None:
        """Do nothing."""

    def finish(self, exit_code: int = 0) -> None:
        """Do nothing."""


class WandbTracker:
    """One W&B run, written by a thread; the first failure turns it off.

    Args:
        open_run: opens the run, in the thread.
        write_seconds: how long the end of a run waits until all entries are written to disk.
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
        """Entries that found no place."""
        self._thread = threading.Thread(target=self._work, name="kpod-tracking", daemon=True)
        self._thread.start()

    def log(self, metrics: Mapping[str, float]) -> None:
        """Hand metrics to the thread."""
        row = dict(metrics)
        self._put(lambda run: run.log(row))

    def log_summary(self, key: str, collect: Callable[[], PhaseSummary]) -> None:
        """Hand what is to be told to the thread, which collects it."""
        self._put(lambda run: run.log_summary(key, collect))

    def _put(self, write: Callable[[WandbRun], None]) -> None:
        if self._is_off:
            return
        if self._waiting.qsize() >= MAX_WAITING:
            self.num_dropped += 1
        else:
            self._waiting.put(write)

    def _work(self) -> None:
        try:
            self._run = self._open_run()
            while (write := self._waiting.get()) is not None:
                write(self._run)
        except Exception as error:  # noqa: BLE001 - tracking must not stop training
            self._turn_off(f"W&B is off from here on: {error}")
        try:
            if self._run is not None:
                self._run.finish(self._exit_code)
        except Exception as error:  # noqa: BLE001 - tracking must not stop training
            self._turn_off(f"W&B did not finish: {error}")

    def _turn_off(self, reason: str) -> None:
        if not self._is_off:
            log.warning("%s", " ".join(reason.split()))
        self._is_off = True

    def finish(self, exit_code: int = 0) -> None:
        """Close the run, and wait for what is waiting: a while for the disk, and a while for W&B."""
        self._exit_code = exit_code
        self._waiting.put(None)
        try:
            self._end_thread()
            if self._run is not None and self._run.upload is not None:
                self._end_upload(self._run.upload, self._run.file.parents[2])
        except Exception as error:  # noqa: BLE001 - tracking must not stop training
            self._turn_off(f"W&B did not finish: {error}")

    def _end_thread(self) -> None:
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
    """Open the tracker of a run.

    Args:
        config: the run.
        folder: the run's folder on this machine, see `uploading.files_of`; its last part is the run's
            name on W&B, and W&B's files go to ``wandb`` inside it.
    """
    mode = config.tracking.mode
    if mode == "auto":
        mode = _MODES.get(os.environ.get("WANDB_MODE", ""), mode)
    if mode == "disabled":
        return NullTracker()

    def open_run() -> WandbRun:
        """Look for a key and open the run; both may take long."""
        os.environ.setdefault(ERROR_REPORTING, "false")
        is_online = mode == "online" or (mode == "auto" and has_wandb_login())
        return WandbRun(config, folder, is_online)

    return WandbTracker(open_run)


@contextlib.contextmanager
def tracked(config: RunConfig, folder: Path) -> Iterator[Tracker]:
    """Open the tracker of a run, see `open_tracker`; close it as what is done inside ends."""
    tracker, exit_code = open_tracker(config, folder), 1
    try:
        yield tracker
        exit_code = 0
    finally:
        tracker.finish(exit_code)


def _end_service() -> None:
    """End W&B's process, which this process has started; a later run starts another."""
    import wandb

    for child in psutil.Process().children():
        if child.name() == SERVICE:
            child.kill()
    with contextlib.suppress(Exception):  # it misses its process; else it would wait for it at exit
        wandb.teardown()
