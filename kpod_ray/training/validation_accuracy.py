"""Answers of the student in training to the questions held out, while the training goes on."""

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
from kpod_ray.storage.artifacts import Store
from kpod_ray.training.build import export_student, finished_student
from kpod_ray.training.job import TrainJob, student_file
from kpod_ray.training.progress import History


class ValidationAccuracyActor:
    """Lets the student as it was after a stage answer the questions held out.

    One actor a training; it waits for room where the training takes all. An examination that is
    written down is never repeated.

    Args:
        job: the training.
        num_threads: CPU threads to use.
    """

    def __init__(self, job: TrainJob, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        self.job, self.store = job, Store.open(job.storage)
        self.best_stage, self.best_accuracy = 0, -1.0

    def measure(self, stage: int) -> float:
        """Return the accuracy after a stage, [0, 1]; write its ``predictions`` down if they aren't."""
        path = f"{self.job.folder}/measurements/stage-{stage}.parquet"
        if not self.store.exists(path):
            self.store.write_table(path, Prediction.to_table(self._predictions(stage)))
        predictions = Prediction.from_table(self.store.read_table(path))
        return count_correct(predictions) / len(predictions)

    def measure_and_post(self, metrics: dict[str, float], board: Any) -> None:
        """Measure after the stage that these metrics are the last of; post them with the accuracy."""
        stage = int(metrics["stage"])
        accuracy = self.measure(stage)
        self._discard(stage, accuracy)
        board.post.remote(metrics | {"validation_accuracy": accuracy})

    def export(self, stage: int) -> None:
        """Write the student as it was after a stage as an ordinary Hugging Face folder."""
        export_student(self.job, self.store, self._parameters(stage))

    def _discard(self, stage: int, accuracy: float) -> None:
        """Delete a student that won't be exported; one too many is kept rather than one too few."""
        worse = stage
        if self.job.student.exported_student == "best" and accuracy > self.best_accuracy:
            worse, self.best_stage, self.best_accuracy = self.best_stage, stage, accuracy
        self.store.delete(student_file(self.job.folder, worse))

    def _parameters(self, stage: int) -> dict[str, torch.Tensor]:
        return fetch_tensors(self.store, student_file(self.job.folder, stage))

    def _predictions(self, stage: int) -> list[Prediction]:
        student, questions = self.job.student, self._validation_questions()
        trained = finished_student(self.job, self._parameters(stage))
        tokenizer = load_tokenizer(student.model)
        evaluation = self.job.evaluation
        generator = RequestGenerator(
            trained.language_model,
            tokenizer,
            student.template,
            student.precision,
            evaluation.max_new_tokens,
        )
        requests = [question_request(question) for question in questions]
        completions = generator.complete(requests, evaluation.batch_size)
        return [predict(c, q) for c, q in zip(completions, questions, strict=True)]

    def _validation_questions(self) -> list[Question]:
        """Return the questions that have an example and are not trained on."""
        with_example, trained_on = (
            self.store.read_table(path, ["question_id"])["question_id"]
            for path in (self.job.examples, self.job.trained_on)
        )
        table = self.store.read_table(self.job.questions)
        has_example = pc.is_in(table["id"], with_example.combine_chunks())
        is_trained_on = pc.is_in(table["id"], trained_on.combine_chunks())
        return Question.from_table(table.filter(pc.and_not(has_example, is_trained_on)))


def start_validation_actor(job: TrainJob, resources: ActorResources) -> Any:
    """Start the validation actor of a training; return the handle of the actor."""
    actor = ray.remote(ValidationAccuracyActor).options(
        max_restarts=-1, max_task_retries=-1, **placement.actor_options(resources)
    )
    return actor.remote(job, threads_of(resources))


def measure_all(
    job: TrainJob, validation_actor: Any, stages: Sequence[int], history: History
) -> dict[str, float]:
    """Wait for all measurements, note them in the history, export the best student if it is kept.

    Args:
        job: the training, which is over.
        validation_actor: of the training; it is killed at the end.
        stages: after which students are examined.
        history: of the training; the last train step of each stage gets ``validation_accuracy``.

    Returns:
        Stage and accuracy of the best student, the earliest of several.
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
