"""What Ray Train hands to its workers.

Ray Train's controller, a process of its own, reads it as well. So this module imports nothing large: a
worker alone loads the libraries that it trains with, and every training starts seconds sooner.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from kpod_ray.config import (
    EvaluationConfig,
    StudentConfig,
    StudentWorkerResources,
)


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
    difficulty_weights: Literal["from_weighting", "uniform"]
    """Token weights inside a step in these losses."""
    resources: StudentWorkerResources
    num_threads: int


def students_folder(folder: str) -> str:
    """Return where the students of a training's stages are kept while it runs."""
    return f"{folder}/students"


def student_file(folder: str, stage: int) -> str:
    """Return the file with the parameters of the student as it was after a stage."""
    return f"{students_folder(folder)}/stage-{stage}.safetensors"
