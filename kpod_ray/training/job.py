"""The description of a student's training that the driver sends to the workers.

Ray Train's controller process unpickles the job, too, so this module imports neither torch nor
transformers, which would delay the start of the controller.
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
    """Settings and input paths of a student's training.

    All paths are relative to the store's root; paths of tables end with ``.parquet``.
    """

    student: StudentConfig
    evaluation: EvaluationConfig
    num_stages: int
    """N_e, number of planned stages."""
    seed: int
    """Seed of the order of the examples, of random initial values and of shuffled token weights."""
    storage: str
    """Local path or address of the store, as `Store.open` takes it."""
    questions: str
    """Path of the table of questions with their answers."""
    examples: str
    """Path of the table of tokenised examples."""
    trained_on: str
    """Path of a table with the ids of the training questions in ``question_id``; the other examples form
    the validation set."""
    folder: str
    """Folder of the training's artifact, to which the training writes ``student/`` and the
    ``step_losses/`` of every stage."""
    difficulty_weights: Literal["from_weighting", "uniform"]
    """Token weights inside a reasoning step in the step losses (Eq. 8)."""
    resources: StudentWorkerResources
    num_threads: int
    """CPU threads of torch on each worker."""


def students_folder(folder: str) -> str:
    """Return the folder in which a training saves students of single stages until it has finished.

    ``folder`` is the folder of the training's artifact; both are relative to the store's root.
    """
    return f"{folder}/students"


def student_file(folder: str, stage: int) -> str:
    """Return the path of the safetensors file of the student's trainable parameters after a stage.

    ``folder`` is the folder of the training's artifact; both are relative to the store's root. ``stage``
    is 1-based.
    """
    return f"{students_folder(folder)}/stage-{stage}.safetensors"
