"""What Ray Train hands to its workers.

Ray Train's controller, a process of its own, reads it as well. So this module imports nothing large: a
worker alone loads the libraries that it trains with, and every training starts seconds sooner.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from kpod_ray.config import (
    EvaluationConfig,
    StudentConfig,
    StudentWorkerResources,
    WeigherConfig,
)
from kpod_ray.data.prompts import Template
from kpod_ray.distributed.placement import own_node


@dataclasses.dataclass(frozen=True)
class TrainJob:
    """Everything a worker needs to know; plain values."""

    student: StudentConfig
    evaluation: EvaluationConfig
    num_stages: int
    seed: int
    storage: str
    questions: str
    """Path in the store of the table of questions, with their answers."""
    examples: str
    """Path in the store of the table of examples."""
    trained_on: str
    """Path in the store of a table with the questions that are trained on; others are for validation."""
    folder: str
    """Folder in the store to write to: ``student/``, and ``step_losses/`` of every stage."""
    difficulty_weights: Literal["learned", "uniform"]
    """Token weights inside a step in these losses."""
    resources: StudentWorkerResources
    num_threads: int


@dataclasses.dataclass(frozen=True)
class WeigherJob:
    """Everything a worker needs to know; plain values."""

    weigher: WeigherConfig
    model: str
    template: Template
    seed: int
    storage: str
    questions: str
    """Path in the store of the table of questions."""
    rationales: str
    """Path in the store of the table of rationales."""
    folder: str
    """Folder in the store to write to."""
    num_threads: int


def train_worker(settings: dict[str, Any]) -> dict[str, Any]:
    """Train the student as one worker, see `training_loop.train_stages`."""
    from kpod_ray.distributed.training_loop import train_stages

    settings["board"].arrive.remote(own_node())
    return train_stages(settings)


def weigher_worker(settings: dict[str, Any]) -> dict[str, Any]:
    """Train the weighter as one worker, see `weigher_loop.train_weighter`."""
    from kpod_ray.distributed.weigher_loop import train_weighter

    settings["board"].arrive.remote(own_node())
    return train_weighter(settings)
