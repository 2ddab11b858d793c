"""Tracking of a run: W&B or nothing, from one process; the only module that imports wandb.

A tracker that fails never stops a run: it says so once and goes quiet.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from kpod_ray.config import RunConfig

log = logging.getLogger("kpod")


class Tracker(Protocol):
    """Where metrics of a run go."""

    def log(self, metrics: Mapping[str, float]) -> None:
        """Take metrics; those with ``train/train_step`` form the training curves."""
        ...

    def finish(self) -> None:
        """Close the run."""
        ...


class NullTracker:
    """Takes everything and keeps nothing."""

    def log(self, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


class WandbTracker:
    """One W&B run; the first failure turns it off."""

    def __init__(self, run: Any) -> None:
        self.run: Any | None = run

    def log(self, metrics: Mapping[str, float]) -> None:
        """Send metrics to W&B."""
        if self.run is None:
            return
        try:
            self.run.log(dict(metrics))
        except Exception as error:  # noqa: BLE001 - tracking must not stop training
            log.warning("W&B is off from here on: %s", error)
            self.run = None

    def finish(self) -> None:
        """Close the W&B run."""
        if self.run is None:
            return
        try:
            self.run.finish()
        except Exception as error:  # noqa: BLE001 - tracking must not stop training
            log.warning("W&B did not finish: %s", error)


def has_wandb_login() -> bool:
    """Whether an API key is to be found, in the environment or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    return netrc.is_file() and "api.wandb.ai" in netrc.read_text()


def open_tracker(config: RunConfig, folder: Path) -> Tracker:
    """Open the tracker of a run; W&B's own files go to ``folder``."""
    mode = config.tracking.mode
    if mode == "auto":
        mode = "online" if has_wandb_login() else "offline"
    if mode == "disabled":
        return NullTracker()
    try:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project=config.tracking.project,
            group=config.tracking.group,
            name=config.name,
            config=config.model_dump(),
            mode=mode,
            dir=str(folder),
            settings=wandb.Settings(silent=True),
        )
        run.define_metric("train/*", step_metric="train/train_step")
        run.define_metric("weigh/*", step_metric="weigh/train_step")
        return WandbTracker(run)
    except Exception as error:  # noqa: BLE001 - tracking must not stop training
        log.warning("W&B is off: %s", error)
        return NullTracker()
