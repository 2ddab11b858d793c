"""Where metrics go."""

from __future__ import annotations

from typing import Literal

from kpod_ray.config.base import Config


class TrackingConfig(Config):
    """Weights & Biases."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """``auto`` is online with an API key and offline without one."""
    project: str = "kpod"
    """W&B project."""
    group: str | None = None
    """W&B group, such as the name of a sweep."""
