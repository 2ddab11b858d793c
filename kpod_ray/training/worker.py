"""What one worker of the student's training does: ask for the stage, train on it, save, export."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import ray
import ray.train
import torch
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import prepare_model

from kpod_ray.cluster.train_checkpoints import Saved, restore, save, wait_until_saved
from kpod_ray.data.sampler import global_batches, num_stage_train_steps
from kpod_ray.errors import KpodError
from kpod_ray.records import StepLosses
from kpod_ray.schedule.tables import Decision, given_steps
from kpod_ray.storage.artifacts import Store
from kpod_ray.training.build import build_student, padding_id, read_examples
from kpod_ray.training.job import TrainJob
from kpod_ray.training.metrics import peak_memory_mib
from kpod_ray.training.parallel import shard
from kpod_ray.training.progress import BestModelKeeper, History, TrainProgress, stage_statistics
from kpod_ray.training.trainer import GivenSteps, StudentTraining, TrainingSet, WorkerRank
from kpod_ray.training.validation import Validation


def train_stages(settings: dict[str, Any]) -> dict[str, Any]:
    """Train whatever no checkpoint covers, export the student; return the history and warnings.

    What the user has to mend is returned as ``error``: raised, Ray Train would try it again.
    """
    job: TrainJob = settings["job"]
    torch.set_num_threads(job.num_threads)
    try:
        worker = _Worker(job, settings["scheduler"], settings["examiner"], settings["board"])
        warnings = worker.restore()
        while worker.is_to_train(worker.progress.stage):
            worker.train_stage()
    except KpodError as error:  # on all workers alike
        return {"error": str(error)}
    worker.best_model.export(worker.progress)
    return {
        "history": worker.history,
        "warnings": warnings,
        "best": worker.best(),
        "measured_stages": worker.progress.measured_stages,
    }


class _Worker:
    """The state of one worker."""

    def __init__(
        self, job: TrainJob, scheduler: Any, validation_actor: Any | None, board: Any
    ) -> None:
        context = ray.train.get_context()
        self.rank, num_workers = context.get_world_rank(), context.get_world_size()
        self.job, self.store = job, Store.open(job.storage)
        self.scheduler, self.validation_actor, self.board = scheduler, validation_actor, board
        self.student = build_student(job.student, job.seed)
        self.best_model = BestModelKeeper(job, self.store, self.student, self.rank)
        if job.resources.sharding and num_workers > 1:
            module = prepare_model(self.student, parallel_strategy=None)  # moves it to the device
            shard(self.student, num_workers)
        else:
            module = prepare_model(self.student)
        trained_on, validation_questions = read_examples(job, self.store)
        padding, worker = padding_id(job), WorkerRank(self.rank, num_workers)
        training_set = TrainingSet(trained_on, job.difficulty_weights, padding)
        self.training = StudentTraining(self.student, module, job.student, training_set, worker)
        self.validation = (
            Validation(self.student, module, job.student, validation_questions, padding, worker)
            if validation_questions
            else None
        )
        self.progress, self.history = TrainProgress(), History()

    def restore(self) -> list[str]:
        """Go on from the newest checkpoint that is whole; return lines about those that aren't."""
        saved, warnings = restore(self.student, self.training.optimizer, self.job.folder)
        if saved is not None:
            self.history = saved.progress.pop("history")
            self.progress = TrainProgress(**saved.progress)
            self.training.begin_stage(saved.tensors["step_loss_sums"])
        return warnings

    def is_to_train(self, stage: int) -> bool:
        """Whether a stage is to be trained: up to the last one, or until the budget is used."""
        if self.job.student.loss_token_budget is None:
            return stage <= self.job.num_stages
        return not self._is_used_up()

    def train_stage(self) -> None:
        """Train the stage to its end on the questions and given steps that the scheduler decides on."""
        progress, stage = self.progress, self.progress.stage
        torch.manual_seed(self.job.seed * 1_000_003 + stage)
        given = self._given_steps(stage)
        batches = self._batches(given)
        if progress.stage_steps == 0:
            self.training.begin_stage()
        while progress.stage_steps < len(batches) and not self._is_used_up():
            self._train_step(batches[progress.stage_steps], given)
            every = self.job.resources.checkpoints.every_train_steps
            is_inside = progress.stage_steps < len(batches)
            if is_inside and every is not None and progress.stage_steps % every == 0:
                self._save()
        self._write_step_losses(stage)
        self._validate()
        if self.rank == 0:
            ray.get(
                self.scheduler.report_stage.remote(stage, stage_statistics(self.history, stage))
            )
        if self._needs_accuracy(stage):
            self._measure_accuracy()
        progress.stage, progress.stage_steps = stage + 1, 0
        self._save()
        wait_until_saved()

    def _train_step(self, indices: list[int], given: GivenSteps) -> None:
        progress, started = self.progress, time.perf_counter()
        try:
            metrics = self.training.train_step(indices, given, self._done_fraction())
        except KpodError as error:
            raise KpodError(f"stage {progress.stage}: {error}") from error
        progress.stage_steps += 1
        progress.train_steps += 1
        progress.loss_tokens += int(metrics["loss_tokens"])
        if self.rank == 0:
            metrics |= {"stage": progress.stage, "train_step": progress.train_steps}
            metrics["num_train_steps"] = self._stage_length() * self.job.num_stages
            metrics["num_workers"] = self.training.worker.num_workers
            metrics["seconds"] = time.perf_counter() - started
            metrics["tokens_per_s"] = metrics["tokens"] / metrics["seconds"]
            metrics["peak_memory_mib"] = peak_memory_mib(self.training.device)
            self.history.append(metrics)
            self.board.post.remote(metrics)

    def _validate(self) -> None:
        """Measure the student after a stage on the questions held out."""
        if self.validation is None:
            return
        metrics = self.validation.measure()
        self.best_model.note_loss(self.progress, metrics["validation_loss"])
        if self.rank == 0:
            self.history[-1] |= metrics
            self.board.post.remote(self.history[-1])

    def _measure_accuracy(self) -> None:
        """Have the questions held out answered by the student as it is, and don't wait for it.

        Where there is no room for it beside the training, the driver does it afterwards.
        """
        self.best_model.save_for_validation(self.progress)
        if self.rank == 0 and self.validation_actor is not None:
            self.validation_actor.measure_and_post.remote(self.history[-1], self.board)

    def _needs_accuracy(self, stage: int) -> bool:
        every = self.job.student.accuracy_every_stages
        return every is not None and (stage % every == 0 or not self.is_to_train(stage + 1))

    def _batches(self, given: GivenSteps) -> list[list[int]]:
        examples = self.training.examples
        return global_batches(
            [i for i, example in enumerate(examples) if example.question_id in given],
            self.job.student.global_batch_size,
            num_train_steps=self._stage_length(),
            seed=self.job.seed,
            stage=self.progress.stage,
        )

    def _stage_length(self) -> int:
        size = self.job.student.global_batch_size
        return num_stage_train_steps(len(self.training.examples), size)

    def _done_fraction(self) -> float:
        """Return how much of the training is done, [0, 1)."""
        budget = self.job.student.loss_token_budget
        if budget is not None:
            return self.progress.loss_tokens / budget
        return self.progress.train_steps / (self._stage_length() * self.job.num_stages)

    def _is_used_up(self) -> bool:
        budget = self.job.student.loss_token_budget
        return budget is not None and self.progress.loss_tokens >= budget

    def _given_steps(self, stage: int) -> GivenSteps:
        answer: dict[str, Any] | None = None
        if self.rank == 0:
            answer = dataclasses.asdict(ray.get(self.scheduler.decide.remote(stage)))
        decision = Decision(**broadcast_from_rank_zero(answer))
        table = self.store.read_table(f"{decision.plan}/schedule.parquet")
        return given_steps(table, decision.plan_stage)

    def _write_step_losses(self, stage: int) -> None:
        losses = self.training.step_losses()
        if self.rank == 0:
            rows = zip(self.training.examples, losses, strict=True)
            table = StepLosses.to_table(StepLosses(e.question_id, values) for e, values in rows)
            self.store.write_table(f"{self.job.folder}/step_losses/stage-{stage}.parquet", table)

    def _save(self) -> None:
        """Save where the training is; the save becomes final in the background."""
        progress = {**dataclasses.asdict(self.progress), "history": self.history}
        tensors = {"step_loss_sums": self.training.step_loss_sums()}
        saved = Saved(self.job.folder, progress, tensors)
        save(self.student, self.training.optimizer, saved)

    def best(self) -> dict[str, float] | None:
        """Return the stage with the lowest validation loss; None without validation."""
        stage, loss = self.progress.best_stage, self.progress.best_loss
        return None if stage is None else {"stage": stage, "validation_loss": loss}
