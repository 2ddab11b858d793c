"""Which student a training leaves: the last one, or the one that did best on the questions held out."""

from __future__ import annotations

from kpod_ray.artifacts import Store
from kpod_ray.distributed.examining import student_file
from kpod_ray.distributed.jobs import TrainJob
from kpod_ray.distributed.training_parts import export_student
from kpod_ray.distributed.training_position import Position
from kpod_ray.models.checkpoints import fetch_tensors, parameters_of, upload_tensors
from kpod_ray.models.student import Student


class Keeper:
    """Keeps the students that may be exported, and exports one; all workers must call it alike.

    Args:
        job: the training.
        store: to keep them in.
        student: what is trained.
        rank: of the worker; 0 writes.
    """

    def __init__(self, job: TrainJob, store: Store, student: Student, rank: int) -> None:
        self.job, self.store, self.student, self.rank = job, store, student, rank

    def note_loss(self, position: Position, loss: float) -> None:
        """Take the validation loss after the stage; keep its student if none was better."""
        if loss < position.best_loss:
            position.best_stage, position.best_loss = position.stage, loss
            if self._keeps_lowest_loss():
                self._keep(position.stage)

    def keep_for_examination(self, position: Position) -> None:
        """Keep the student for the examiner, which lets it answer the questions held out."""
        position.examined_stages.append(position.stage)
        self._keep(position.stage)

    def export(self, position: Position) -> None:
        """Write the student as an ordinary Hugging Face folder, unless the examiner is to choose."""
        student = self.job.student
        if student.keep == "best" and student.accuracy_every is not None:
            return
        parameters = parameters_of(self.student)
        if self.rank != 0:
            return
        if self._keeps_lowest_loss() and position.best_stage is not None:
            file = student_file(self.job.folder, position.best_stage)
            parameters = fetch_tensors(self.store, file)
        export_student(self.job, self.store, parameters)

    def _keeps_lowest_loss(self) -> bool:
        return self.job.student.keep == "best" and self.job.student.accuracy_every is None

    def _keep(self, stage: int) -> None:
        parameters = parameters_of(self.student)
        if self.rank == 0:
            upload_tensors(parameters, self.store, student_file(self.job.folder, stage))
