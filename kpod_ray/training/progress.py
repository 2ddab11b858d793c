"""How far a training is, and what it has brought so far."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from kpod_ray.models.safetensors_state import fetch_tensors, parameters_of, upload_tensors
from kpod_ray.models.student import Student
from kpod_ray.storage.artifacts import Store
from kpod_ray.training.build import export_student
from kpod_ray.training.job import TrainJob, student_file

History = list[dict[str, float]]


@dataclasses.dataclass
class TrainProgress:
    """The train step that comes next, and what came before it."""

    stage: int = 1
    stage_steps: int = 0
    """Train steps of the stage that are done."""
    train_steps: int = 0
    """Train steps of all stages that are done."""
    loss_tokens: int = 0
    """Tokens that have been in the loss."""
    best_stage: int | None = None
    """Stage after which the validation loss was lowest."""
    best_loss: float = math.inf
    measured_stages: list[int] = dataclasses.field(default_factory=list)
    """Stages after which the questions held out are answered."""


def stage_statistics(history: History, stage: int) -> dict[str, float]:
    """Return means over a stage's train steps, and what was measured after it."""
    rows = [row for row in history if row["stage"] == stage]
    names = ("loss", "rationale_loss", "answer_loss", "token_weight_mean", "tokens_per_s")
    means = {name: float(np.mean([row[name] for row in rows])) for name in names}
    measured = {name: value for name, value in rows[-1].items() if name.startswith("validation_")}
    return means | measured | {"train_steps": len(rows)}


class BestModelKeeper:
    """Keeps the students that may be exported, and exports one; all workers must call it alike.

    Args:
        job: the training.
        store: to keep them in.
        student: what is trained.
        rank: of the worker; 0 writes.
    """

    def __init__(self, job: TrainJob, store: Store, student: Student, rank: int) -> None:
        self.job, self.store, self.student, self.rank = job, store, student, rank

    def note_loss(self, progress: TrainProgress, loss: float) -> None:
        """Take the validation loss after the stage; keep its student if none was better."""
        if loss < progress.best_loss:
            progress.best_stage, progress.best_loss = progress.stage, loss
            if self._keeps_lowest_loss():
                self._keep(progress.stage)

    def save_for_validation(self, progress: TrainProgress) -> None:
        """Keep the student for the examiner, which lets it answer the questions held out."""
        progress.measured_stages.append(progress.stage)
        self._keep(progress.stage)

    def export(self, progress: TrainProgress) -> None:
        """Write the student as an ordinary Hugging Face folder, unless the examiner is to choose."""
        student = self.job.student
        if student.exported_student == "best" and student.accuracy_every_stages is not None:
            return
        parameters = parameters_of(self.student)
        if self.rank != 0:
            return
        if self._keeps_lowest_loss() and progress.best_stage is not None:
            file = student_file(self.job.folder, progress.best_stage)
            parameters = fetch_tensors(self.store, file)
        export_student(self.job, self.store, parameters)

    def _keeps_lowest_loss(self) -> bool:
        return (
            self.job.student.exported_student == "best"
            and self.job.student.accuracy_every_stages is None
        )

    def _keep(self, stage: int) -> None:
        parameters = parameters_of(self.student)
        if self.rank == 0:
            upload_tensors(parameters, self.store, student_file(self.job.folder, stage))
