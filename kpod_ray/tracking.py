"""Tracking of a run: W&B or nothing, from one process; the only module that imports wandb.

A tracker that fails never stops a run: it says so once and goes quiet.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from kpod_ray.config import RunConfig

log = logging.getLogger("kpod")


class Tracker(Protocol):
    """Where metrics of a run go."""

    def log(self, metrics: Mapping[str, float]) -> None:
        """Take metrics; those with ``train/train_step`` form the training curves."""
        ...

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take a table of rows that all have the same columns."""
        ...

    def log_html(self, name: str, html: str) -> None:
        """Take a self-contained HTML page."""
        ...

    def finish(self) -> None:
        """Close the run."""
        ...


class NullTracker:
    """Takes everything and keeps nothing."""

    def log(self, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Do nothing."""

    def log_html(self, name: str, html: str) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


class WandbTracker:
    """One W&B run; the first failure turns it off."""

    def __init__(self, run: Any) -> None:
        self.run: Any | None = run

    def log(self, metrics: Mapping[str, float]) -> None:
        """Send metrics to W&B."""
        self._send(lambda: dict(metrics))

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Send rows to W&B as a table."""
        self._send(lambda: {name: _table(rows)})

    def log_html(self, name: str, html: str) -> None:
        """Send a page to W&B."""
        self._send(lambda: {name: _html(html)})

    def _send(self, make: Callable[[], dict[str, Any]]) -> None:
        """Make something and log it; what goes wrong in either turns tracking off."""
        if self.run is None:
            return
        try:
            self.run.log(make())
        except Exception as error:  # noqa: BLE001 - tracking must not stop training
            log.warning("W&B is off from here on: %s", error)
            self.finish()  # W&B would hand an open run to the next who asks for one

    def finish(self) -> None:
        """Close the W&B run; what is logged after it is dropped."""
        run, self.run = self.run, None
        if run is None:
            return
        try:
            run.finish()
        except Exception as error:  # noqa: BLE001 - tracking must not stop training
            log.warning("W&B did not finish: %s", error)


def _table(rows: Sequence[Mapping[str, Any]]) -> Any:
    import wandb

    columns = list(rows[0]) if rows else []
    return wandb.Table(columns=columns, data=[[row[name] for name in columns] for row in rows])


def _html(html: str) -> Any:
    import wandb

    return wandb.Html(html, inject=False, data_is_not_path=True)


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
