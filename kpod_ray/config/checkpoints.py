"""Which checkpoints of a training are saved and kept."""

from __future__ import annotations

from pydantic import Field

from kpod_ray.config.base import Config


class CheckpointsConfig(Config):
    """Checkpoints of a training. These settings change no result."""

    keep_last: int = Field(2, ge=1, le=100_000)
    """Number of most recent checkpoints that are kept during training. If the last checkpoint is
    damaged, training resumes from the one before."""


class StudentCheckpointsConfig(CheckpointsConfig):
    """Checkpoints of the student's training."""

    every_train_steps: int | None = Field(None, ge=1)
    """Train steps between checkpoints within a stage; None saves a checkpoint only at the end of each
    stage."""
