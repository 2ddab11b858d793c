"""Validation accuracy: a saved student answers the validation questions while the training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow.compute as pc
import ray
import torch

from kpod_ray.cluster import placement
from kpod_ray.cluster.placement import threads_of
from kpod_ray.config import ActorResources
from kpod_ray.evaluation.scoring import count_correct, predict
from kpod_ray.inference.requests import question_request
from kpod_ray.inference.transformers_generator import RequestGenerator
from kpod_ray.models.safetensors_state import fetch_tensors
from kpod_ray.models.student import load_tokenizer
from kpod_ray.records import Prediction, Question
from kpod_ray.storage.store import Store
from kpod_ray.training.build import export_student, finished_student
from kpod_ray.training.job import TrainJob, student_file
from kpod_ray.training.progress import History


class ValidationAccuracyActor:
    """Measures the accuracy of the students that a training saved at the end of stages; a Ray actor.

    A training has one such actor; its methods are called one at a time. The predictions of a measurement
    are stored, so a restarted actor or a resumed training doesn't repeat the measurement.

    Args:
        job: the training.
        num_threads: CPU threads of torch.

    Raises:
        KpodError: The store can't be opened.
    """

    def __init__(self, job: TrainJob, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        self.job = job
        self.store = Store.open(job.storage)
        self.best_stage = 0
        self.best_accuracy = -1.0

    def measure(self, stage: int) -> float:
        """Return the accuracy of the student at the end of a 1-based stage, in [0, 1].

        The accuracy is the fraction of correct answers to the validation questions, which are the
        questions with an example that aren't in ``trained_on``. The predictions are read from
        ``measurements/`` of the artifact, or generated (on the GPU of the process, if any) with the
        student that `BestModelKeeper.save_for_validation` saved, and written there. The saved student
        isn't deleted.

        Raises:
            FileNotFoundError: Neither the predictions nor the saved student exist.
            ZeroDivisionError: There is no validation question.
            SafetensorError: The saved student is damaged.
            KpodError: The template is ``chat``, and the student's tokenizer has no chat template.
            Exception: An error of `finished_student` or `load_tokenizer`.
        """
        path = f"{self.job.folder}/measurements/stage-{stage}.parquet"
        if not self.store.exists(path):
            self.store.write_table(path, Prediction.to_table(self._predictions(stage)))
        predictions = Prediction.from_table(self.store.read_table(path))
        return count_correct(predictions) / len(predictions)

    def measure_and_post(self, metrics: dict[str, float], board: Any) -> None:
        """Measure the accuracy at the end of a stage and post it; delete a student that isn't needed.

        With ``exported_student: best`` the student with the highest accuracy of all calls since the
        actor's start is kept (of equal ones that of the earliest call); the saved students of the other
        calls are deleted. With another setting the student of this call is deleted. The method doesn't
        wait for the post. Errors are as in `measure`.

        Args:
            metrics: metrics of the stage's last train step, posted again together with the accuracy;
                ``stage`` is the 1-based stage.
            board: handle of the `MetricsBoard` actor.
        """
        stage = int(metrics["stage"])
        accuracy = self.measure(stage)
        self._discard(stage, accuracy)
        board.post.remote(metrics | {"validation_accuracy": accuracy})

    def export(self, stage: int) -> None:
        """Write the saved student of a 1-based stage to ``student/`` of the artifact.

        Raises:
            FileNotFoundError: The student isn't saved, or `measure_and_post` has deleted it.
            SafetensorError: The saved student is damaged.
            Exception: An error of `export_student`.
        """
        export_student(self.job, self.store, self._parameters(stage))

    def _discard(self, stage: int, accuracy: float) -> None:
        """Delete the saved student that is now known not to be exported."""
        # A restarted actor begins without a best stage. A best student of earlier is then kept, which
        # costs space, but the student to be exported is never deleted.
        worse = stage
        if self.job.student.exported_student == "best" and accuracy > self.best_accuracy:
            worse, self.best_stage, self.best_accuracy = self.best_stage, stage, accuracy
        self.store.delete(student_file(self.job.folder, worse))

    def _parameters(self, stage: int) -> dict[str, torch.Tensor]:
        return fetch_tensors(self.store, student_file(self.job.folder, stage))

    def _predictions(self, stage: int) -> list[Prediction]:
        """Generate the answers of the student of a stage to the validation questions."""
        student = self.job.student
        questions = self._validation_questions()
        trained = finished_student(self.job, self._parameters(stage))
        tokenizer = load_tokenizer(student.model)
        evaluation = self.job.evaluation
        generator = RequestGenerator(
            trained.language_model,
            tokenizer,
            student.template,
            student.precision,
            evaluation.max_new_tokens,
            temperature=0,
        )
        requests = [question_request(question) for question in questions]
        completions = generator.complete(requests, evaluation.batch_size)
        return [predict(c, q) for c, q in zip(completions, questions, strict=True)]

    def _validation_questions(self) -> list[Question]:
        """Return the questions with an example that aren't in the training set."""
        with_example, trained_on = (
            self.store.read_table(path, ["question_id"])["question_id"]
            for path in (self.job.examples, self.job.trained_on)
        )
        table = self.store.read_table(self.job.questions)
        has_example = pc.is_in(table["id"], with_example.combine_chunks())
        is_trained_on = pc.is_in(table["id"], trained_on.combine_chunks())
        return Question.from_table(table.filter(pc.and_not(has_example, is_trained_on)))


def start_validation_actor(job: TrainJob, resources: ActorResources) -> Any:
    """Start the validation accuracy actor of a training; return its handle.

    Ray must be connected. The function doesn't wait for the start of the actor; an error of the start is
    raised where the result of a call is fetched. An actor that died is restarted, and its calls are
    repeated. The actor ends when its last handle is deleted or the actor is killed.
    """
    actor = ray.remote(ValidationAccuracyActor).options(
        max_restarts=-1, max_task_retries=-1, **placement.actor_options(resources)
    )
    return actor.remote(job, threads_of(resources))


def measure_all(
    job: TrainJob, validation_actor: Any, stages: Sequence[int], history: History
) -> dict[str, float]:
    """Wait for all measurements; add them to the history; export the best student if settings say so.

    The actor measures the stages that have no stored predictions, and exports the student with
    ``exported_student: best`` only. Ray must be connected.

    Args:
        job: the finished training.
        validation_actor: handle of the training's actor, which is killed at the end, but not after an
            error.
        stages: the stages whose students are measured, 1-based and ascending, at least one.
        history: metrics of the training, with train steps of each of these stages;
            ``validation_accuracy`` is added, in place, to the last train step of each.

    Returns:
        ``stage`` and ``validation_accuracy`` (in [0, 1]) of the student with the highest accuracy, the
        earliest one if several are equal.

    Raises:
        RayError: The actor failed; an error of `ValidationAccuracyActor.measure` or
            `ValidationAccuracyActor.export` arrives as a `RayTaskError`.
    """
    best = {"stage": 0.0, "validation_accuracy": -1.0}
    for stage in stages:
        accuracy = ray.get(validation_actor.measure.remote(stage))
        last = next(row for row in reversed(history) if row["stage"] == stage)
        last["validation_accuracy"] = accuracy
        if accuracy > best["validation_accuracy"]:
            best = {"stage": stage, "validation_accuracy": accuracy}
    if job.student.exported_student == "best":
        ray.get(validation_actor.export.remote(int(best["stage"])))
    ray.kill(validation_actor)
    return best
