"""Progress of a training and the students that may be exported.

Checkpoints store the position, `TrainProgress`, and the metrics of the train steps so far, `History`.
`BestModelKeeper` saves students of single stages and exports one at the end.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from kpod_ray.models.safetensors_state import fetch_tensors, parameters_of, upload_tensors
from kpod_ray.models.student import Student
from kpod_ray.storage.store import Store
from kpod_ray.training.build import export_student
from kpod_ray.training.job import TrainJob, student_file

History = list[dict[str, float]]
"""Metrics of every train step, in order."""


@dataclasses.dataclass
class TrainProgress:
    """Position of a training, and its validation results so far."""

    stage: int = 1
    """Current stage, 1-based."""
    stage_steps: int = 0
    """Number of finished train steps of the current stage."""
    train_steps: int = 0
    """Number of finished train steps of all stages."""
    loss_tokens: int = 0
    """Number of tokens that have been in the loss."""
    best_stage: int | None = None
    """Stage with the lowest validation loss at its end; None before the first validation."""
    best_loss: float = math.inf
    """Lowest validation loss, in nats a token."""
    measured_stages: list[int] = dataclasses.field(default_factory=list)
    """Stages whose students are measured for validation accuracy."""


def stage_statistics(history: History, stage: int) -> dict[str, float]:
    """Return the mean metrics of a stage's train steps, and the stage's validation metrics.

    The stage must have a train step in the history.

    Returns:
        By name: the means of ``loss``, ``rationale_loss``, ``answer_loss``, ``token_weight_mean`` and
        ``tokens_per_s``; the metrics of the stage's last train step whose names begin with
        ``validation_``, if any; and ``train_steps``, the number of the stage's train steps.
    """
    rows = [row for row in history if row["stage"] == stage]
    names = ("loss", "rationale_loss", "answer_loss", "token_weight_mean", "tokens_per_s")
    means = {name: float(np.mean([row[name] for row in rows])) for name in names}
    measured = {name: value for name, value in rows[-1].items() if name.startswith("validation_")}
    return means | measured | {"train_steps": len(rows)}


class BestModelKeeper:
    """Saves the students of stages that may be exported, and exports one of them.

    All workers must call the same methods in the same order: gathering a sharded student is collective.

    Args:
        job: the training.
        store: store of the saved students.
        student: the student in training.
        rank: rank of this worker; only rank 0 writes files.
    """

    def __init__(self, job: TrainJob, store: Store, student: Student, rank: int) -> None:
        self.job = job
        self.store = store
        self.student = student
        self.rank = rank

    def note_loss(self, progress: TrainProgress, loss: float) -> None:
        """Record the validation loss of the current stage; save the student if it is the best so far.

        The student is saved, as `student_file` of the stage, only if the student with the lowest loss is
        to be exported (``exported_student: best`` without validation accuracy). All workers must call
        this method once at the end of each stage, with the same arguments; rank 0 alone writes.

        Args:
            progress: position of the training, whose ``stage`` is the stage that ends; ``best_stage``
                and ``best_loss`` are updated in place if the loss is lower than ``best_loss``, which a
                NaN never is.
            loss: validation loss in nats a token.
        """
        if loss < progress.best_loss:
            progress.best_stage = progress.stage
            progress.best_loss = loss
            if self._keeps_lowest_loss():
                self._save(progress.stage)

    def save_for_validation(self, progress: TrainProgress) -> None:
        """Save the current student as `student_file` of its stage, to measure the validation accuracy.

        ``progress.stage`` is appended to ``progress.measured_stages``. All workers must call this
        method; rank 0 alone writes, and the file is complete when the call returns there.
        """
        progress.measured_stages.append(progress.stage)
        self._save(progress.stage)

    def export(self, progress: TrainProgress) -> None:
        """Write the last or the best student, as the settings say, to ``student/`` of the artifact.

        The last student is the one in training now; without a validation set it is the best, too. Else
        the best is that of ``progress.best_stage``, saved by `note_loss`. Nothing is written if the best
        student is chosen by validation accuracy: `measure_all` exports that student. All workers must
        call this method after the last stage; rank 0 alone writes.

        Raises:
            FileNotFoundError: The best student isn't saved.
            SafetensorError: The saved student is damaged.
            Exception: An error of `export_student`.
        """
        student = self.job.student
        if student.exported_student == "best" and student.accuracy_every_stages is not None:
            return
        parameters = parameters_of(self.student)  # collective, so before the other ranks return
        if self.rank != 0:
            return
        if self._keeps_lowest_loss() and progress.best_stage is not None:
            file = student_file(self.job.folder, progress.best_stage)
            parameters = fetch_tensors(self.store, file)
        export_student(self.job, self.store, parameters)

    def _keeps_lowest_loss(self) -> bool:
        """Return whether the student with the lowest validation loss is exported."""
        return (
            self.job.student.exported_student == "best"
            and self.job.student.accuracy_every_stages is None
        )

    def _save(self, stage: int) -> None:
        parameters = parameters_of(self.student)
        if self.rank == 0:
            upload_tensors(parameters, self.store, student_file(self.job.folder, stage))
