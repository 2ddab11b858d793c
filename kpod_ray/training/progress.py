"""Progress of a training and the students that may be exported.

`TrainProgress` is the position of a training, which checkpoints store. `History` holds the metrics of
the train steps so far, and `stage_statistics` summarizes one stage of it. `BestModelKeeper` saves
students of single stages and exports one at the end.
"""

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

    Args:
        history: metrics of all train steps so far.
        stage: the stage, with at least one train step in the history.

    Returns:
        By name: the means of ``loss``, ``rationale_loss``, ``answer_loss``, ``token_weight_mean`` and
        ``tokens_per_s``; the metrics of the stage's last train step whose names begin with
        ``validation_``, if any; and ``train_steps``, the number of the stage's train steps.

    Raises:
        IndexError: The history has no train step of the stage.
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
        """Record the validation loss of the current stage, and save the student if it may be exported.

        The student is saved, as `student_file` of the stage, if the loss is lower than those of all
        earlier stages and the student with the lowest loss is to be exported (``exported_student: best``
        without validation accuracy). All workers must call this method once at the end of each stage,
        with the same arguments; rank 0 alone writes. The choice of `export` depends on these calls.

        Args:
            progress: position of the training, whose ``stage`` is the stage that ends; ``best_stage``
                and ``best_loss`` are updated in place if the loss is the lowest. A NaN is never lowest.
            loss: validation loss in nats a token.

        Raises:
            OSError: The store fails.
        """
        if loss < progress.best_loss:
            progress.best_stage = progress.stage
            progress.best_loss = loss
            if self._keeps_lowest_loss():
                self._save(progress.stage)

    def save_for_validation(self, progress: TrainProgress) -> None:
        """Save the current student, so that an actor can measure the validation accuracy.

        The file is `student_file` of the current stage, and replaces an existing one. All workers must
        call this method; rank 0 alone writes, and the file is complete when the call returns there.

        Args:
            progress: position of the training, whose ``stage`` is the stage that ends; the stage is
                appended to ``measured_stages``, in place.

        Raises:
            OSError: The store fails.
        """
        progress.measured_stages.append(progress.stage)
        self._save(progress.stage)

    def export(self, progress: TrainProgress) -> None:
        """Write the last or the best student, as the settings say, as a Hugging Face model folder.

        The folder is ``student/`` of the artifact; see `export_student`. The last student is that which
        is in training now. Without a validation set the last student is the best. Nothing is written if
        the best student is chosen by validation accuracy, which is known only after the training:
        `measure_all` of ``validation_accuracy`` exports that student. All workers must call this method,
        after the last stage; rank 0 alone writes.

        Args:
            progress: position of the training; ``best_stage`` is that of the best student, saved by
                `note_loss`.

        Raises:
            FileNotFoundError: The best student isn't saved.
            KpodError: As in `export_student`.
            OSError: As in `export_student`.
            ValueError: As in `export_student`.
            RuntimeError: As in `export_student`.
            SafetensorError: As in `export_student`, or the saved student is damaged.
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
