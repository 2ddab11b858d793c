"""The training of the student on one Ray Train worker.

For each stage a worker asks the scheduler actor which questions and given steps to train on, runs the
train steps, measures the validation set and saves a checkpoint. After a restart the worker continues
from the newest checkpoint. At the end the student is exported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import ray
import ray.train
import torch
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import prepare_model

from kpod_ray.cluster.departure import Departure, departing
from kpod_ray.cluster.train_checkpoints import Saved, restore, save, wait_until_saved
from kpod_ray.data.sampler import global_batches
from kpod_ray.errors import KpodError
from kpod_ray.models.finite import check_finite
from kpod_ray.records import StepLosses
from kpod_ray.schedule.tables import Decision, given_steps
from kpod_ray.storage.store import Store
from kpod_ray.training.build import build_student, padding_id, read_examples
from kpod_ray.training.job import TrainJob
from kpod_ray.training.length import TrainingLength
from kpod_ray.training.metrics import peak_memory_mib
from kpod_ray.training.parallel import shard
from kpod_ray.training.progress import BestModelKeeper, History, TrainProgress, stage_statistics
from kpod_ray.training.trainer import GivenSteps, StudentTraining, TrainingSet, WorkerRank
from kpod_ray.training.validation import Validation


def train_stages(settings: dict[str, Any]) -> dict[str, Any]:
    """Run the training of the student from the newest checkpoint to the end, and export the student.

    Every worker calls this function inside Ray Train. A `KpodError` is returned, not raised. Ray Train
    starts the function again on all workers after any error that is raised, as often as the settings
    allow. The student that is best by validation accuracy isn't exported here (see `measure_all`).

    Args:
        settings: ``job``, a `TrainJob`, and the actor handles ``scheduler``, ``board`` and
            ``validation_actor`` (which may be None).

    Returns:
        ``history`` (only on rank 0 complete), ``warnings`` about damaged checkpoints, ``best`` (mapping
        with ``stage`` and ``validation_loss``, or None without a validation set) and
        ``measured_stages``, the stages whose students were saved to measure the validation accuracy; or
        only ``error``, the message of the `KpodError`; or the result of `Departure.leave`.

    Raises:
        ValueError: A stage includes no example.
        RayError: The scheduler actor failed.
        Exception: An error of `restore`, `load_student`, `load_tokenizer` or `export_student`.
    """
    job: TrainJob = settings["job"]
    torch.set_num_threads(job.num_threads)
    try:
        worker = _Worker(
            job, settings["scheduler"], settings["validation_actor"], settings["board"]
        )
        warnings = worker.restore()
        with departing(job.folder) as departure:
            while worker.length.is_under_way(worker.progress):
                worker.train_stage(departure)
                if worker.training.is_to_leave:
                    return departure.leave(worker.length.summary(worker.progress))
        worker.best_model.export(worker.progress)
    except KpodError as error:
        # All workers get the same error, except in the export, after which none waits for another. Ray
        # Train would retry after a raised error, which can't help.
        return {"error": str(error)}
    return {
        "history": worker.history,
        "warnings": warnings,
        "best": worker.best(),
        "measured_stages": worker.progress.measured_stages,
    }


class _Worker:
    """The training on one worker.

    Args:
        job: the training.
        scheduler: handle of the `Scheduler` actor.
        validation_actor: handle of the `ValidationAccuracyActor`, or None.
        board: handle of the `MetricsBoard` actor.
    """

    def __init__(
        self, job: TrainJob, scheduler: Any, validation_actor: Any | None, board: Any
    ) -> None:
        context = ray.train.get_context()
        num_workers = context.get_world_size()
        self.rank = context.get_world_rank()
        self.job = job
        self.store = Store.open(job.storage)
        self.scheduler = scheduler
        self.validation_actor = validation_actor
        self.board = board
        self.student = build_student(job.student, job.seed)
        self.best_model = BestModelKeeper(job, self.store, self.student, self.rank)
        if job.resources.sharding and num_workers > 1:
            module = prepare_model(self.student, parallel_strategy=None)  # only moves to the device
            shard(self.student, num_workers)
        else:
            module = prepare_model(self.student)
        training_examples, validation_examples = read_examples(job, self.store)
        if job.student.accuracy_every_stages is not None and not validation_examples:
            raise KpodError(
                "the validation set is empty, so there is no validation accuracy; raise "
                "student.validation_fraction"
            )
        padding = padding_id(job)
        worker = WorkerRank(self.rank, num_workers)
        training_set = TrainingSet(training_examples, job.difficulty_weights, padding, job.seed)
        self.training = StudentTraining(self.student, module, job.student, training_set, worker)
        self.validation = (
            Validation(self.student, module, job.student, validation_examples, padding, worker)
            if validation_examples
            else None
        )
        self.length = TrainingLength(job.student, job.num_stages, len(training_examples))
        self.progress = TrainProgress()
        self.history = History()

    def restore(self) -> list[str]:
        """Load the newest undamaged checkpoint, if any; return a warning for each damaged checkpoint.

        All workers must call this method, before the first stage. Errors are as in
        `train_checkpoints.restore`.
        """
        saved, warnings = restore(self.student, self.training.optimizer, self.job.folder)
        if saved is not None:
            self.history = saved.progress.pop("history")
            self.progress = TrainProgress(**saved.progress)
            self.training.begin_stage(saved.tensors["step_loss_sums"])
        return warnings

    def train_stage(self, departure: Departure) -> None:
        """Train the rest of the current stage, validate, and save a checkpoint at the end.

        All workers must call this method. The next stage is then the current one, unless a worker wants
        to leave: then a checkpoint is saved after the current train step. torch's global generator is
        seeded.

        Raises:
            KpodError: As in `StudentTraining.train_step`, `StudentTraining.check_update` and
                `Validation.measure`; no checkpoint is saved.
            ValueError: The stage includes no example.
            RayError: The scheduler actor failed.
        """
        progress = self.progress
        stage = progress.stage
        # A seed of its own for each stage makes a resumed training repeat the random numbers.
        torch.manual_seed(self.job.seed * 1_000_003 + stage)
        given = self._given_steps(stage)
        batches = self._batches(given)
        if progress.stage_steps == 0:
            self.training.begin_stage()
        while progress.stage_steps < len(batches) and not self.length.is_used_up(progress):
            self._train_step(batches[progress.stage_steps], given, departure)
            if self.training.is_to_leave:
                self._save()
                wait_until_saved()
                return
            every = self.job.resources.checkpoints.every_train_steps
            is_inside = progress.stage_steps < len(batches)  # the stage's end saves in any case
            if is_inside and every is not None and progress.stage_steps % every == 0:
                self._save()
        with self._stage_named():
            self.training.check_update(batches[progress.stage_steps - 1], given)
        self._end_stage()

    def _end_stage(self) -> None:
        """Write and measure what the current stage gave, begin the next stage, save a checkpoint."""
        progress = self.progress
        stage = progress.stage
        with self._stage_named():
            self._write_step_losses(stage)
            self._validate()
        if self.rank == 0:
            ray.get(
                self.scheduler.report_stage.remote(stage, stage_statistics(self.history, stage))
            )
        if self.length.needs_accuracy(progress):
            self._measure_accuracy()
        progress.stage = stage + 1
        progress.stage_steps = 0
        self._save()
        # Ray Train loses a checkpoint that was reported just before a crash unless it is committed.
        wait_until_saved()

    def _train_step(self, indices: list[int], given: GivenSteps, departure: Departure) -> None:
        """Run a train step; rank 0 records and posts its metrics."""
        progress = self.progress
        started = time.perf_counter()
        with self._stage_named():
            done = self.length.done_fraction(progress)
            metrics = self.training.train_step(indices, given, done, departure.is_wanted)
        progress.stage_steps += 1
        progress.train_steps += 1
        progress.loss_tokens += int(metrics["loss_tokens"])
        if self.rank == 0:
            metrics |= {"stage": progress.stage, "train_step": progress.train_steps}
            metrics["num_train_steps"] = self.length.num_train_steps()
            metrics["num_workers"] = self.training.worker.num_workers
            metrics["seconds"] = time.perf_counter() - started
            metrics["tokens_per_s"] = metrics["tokens"] / metrics["seconds"]
            metrics["peak_memory_mib"] = peak_memory_mib(self.training.device)
            self.history.append(metrics)
            self.board.post.remote(metrics)

    @contextlib.contextmanager
    def _stage_named(self) -> Iterator[None]:
        """Put the stage before the message of a `KpodError` of the block."""
        try:
            yield
        except KpodError as error:
            raise KpodError(f"stage {self.progress.stage}: {error}") from error

    def _validate(self) -> None:
        """Measure loss and token accuracy on the validation set, if there is one."""
        if self.validation is None:
            return
        metrics = self.validation.measure()
        self.best_model.note_loss(self.progress, metrics["validation_loss"])
        if self.rank == 0:
            self.history[-1] |= metrics
            self.board.post.remote(self.history[-1])

    def _measure_accuracy(self) -> None:
        """Save the student and have the actor measure it, without waiting for the result.

        Without an actor, the driver has the saved student measured after the training.
        """
        self.best_model.save_for_validation(self.progress)
        if self.rank == 0 and self.validation_actor is not None:
            self.validation_actor.measure_and_post.remote(self.history[-1], self.board)

    def _batches(self, given: GivenSteps) -> list[list[int]]:
        """Return the global batches of the current stage, as indices into the training examples."""
        examples = self.training.examples
        return global_batches(
            [i for i, example in enumerate(examples) if example.question_id in given],
            self.job.student.global_batch_size,
            num_train_steps=self.length.stage_train_steps(),
            seed=self.job.seed,
            stage=self.progress.stage,
        )

    def _given_steps(self, stage: int) -> GivenSteps:
        """Return the given steps of the questions of a stage, as the scheduler actor decides."""
        answer: dict[str, Any] | None = None
        if self.rank == 0:  # rank 0 asks for all workers, so that all of them train on one decision
            answer = dataclasses.asdict(ray.get(self.scheduler.decide.remote(stage)))
        decision = Decision(**broadcast_from_rank_zero(answer))
        table = self.store.read_table(f"{decision.plan}/schedule.parquet")
        return given_steps(table, decision.plan_stage)

    def _write_step_losses(self, stage: int) -> None:
        """Write the losses of the reasoning steps of a stage to the store."""
        losses = self.training.step_losses()  # collective, so on every rank
        if self.rank == 0:
            rows = zip(self.training.examples, losses, strict=True)
            table = StepLosses.to_table(StepLosses(e.question_id, values) for e, values in rows)
            self.store.write_table(f"{self.job.folder}/step_losses/stage-{stage}.parquet", table)

    def _save(self) -> None:
        """Save a checkpoint; Ray Train uploads the checkpoint in the background.

        Raises:
            KpodError: The student's parameters aren't finite; nothing is saved.
        """
        with self._stage_named():
            check_finite(self.student, "student", "student.learning_rate")
        progress = {**dataclasses.asdict(self.progress), "history": self.history}
        tensors = {"step_loss_sums": self.training.step_loss_sums()}
        saved = Saved(self.job.folder, progress, tensors)
        save(self.student, self.training.optimizer, saved)

    def best(self) -> dict[str, float] | None:
        """Return stage and loss of the lowest validation loss; None without a validation set."""
        stage, loss = self.progress.best_stage, self.progress.best_loss
        return None if stage is None else {"stage": stage, "validation_loss": loss}
