"""Where metrics go."""

from __future__ import annotations

from typing import Literal

from kpod_ray.config.base import Config


class TrackingConfig(Config):
    """Weights & Biases."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """``auto`` is online with an API key and offline without one; ``WANDB_MODE`` may say ``offline`` or
    ``disabled``. What goes online lies in files of this machine, too."""
    entity: str | None = None
    """W&B team or user; None is ``WANDB_ENTITY``, or the key's own."""
    project: str = "kpod"
    """W&B project."""
    group: str | None = None
    """W&B group, such as the name of a sweep."""
