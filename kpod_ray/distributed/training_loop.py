"""What one worker of the student's training does: ask for the stage, train on it, checkpoint it."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
import torch
from ray.train import Checkpoint, CheckpointConsistencyMode
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import prepare_model

from kpod_ray.algorithm.loss import probability_scaled_nll, weighted_nll
from kpod_ray.artifacts import Store
from kpod_ray.config import StudentConfig
from kpod_ray.data.batching import global_batches, num_stage_train_steps
from kpod_ray.data.examples import Example
from kpod_ray.data.stages import given_steps
from kpod_ray.distributed.jobs import TrainJob
from kpod_ray.distributed.scheduler import Decision
from kpod_ray.models.adapters import add_adapters, merge_adapters
from kpod_ray.models.checkpoints import load_state, save_state
from kpod_ray.models.folders import MODEL_CACHE, model_folder
from kpod_ray.models.student import Student, TokenLoss, load_student, load_tokenizer, pad_id
from kpod_ray.models.training import GivenSteps, Place, StudentTraining, TrainingSet
from kpod_ray.records import StepLosses

History = list[dict[str, float]]


def train_stages(settings: dict[str, Any]) -> dict[str, Any]:
    """Train all stages that no checkpoint covers, export the student, return the history."""
    job: TrainJob = settings["job"]
    torch.set_num_threads(job.num_threads)
    worker = _Worker(job, settings["scheduler"], settings["board"])
    stage = worker.restore()
    while worker.has_more_to_do(stage):
        worker.train_stage(stage)
        worker.checkpoint(stage)
        stage += 1
    worker.export()
    return {"history": worker.history}


class _Worker:
    """The state of one worker."""

    def __init__(self, job: TrainJob, scheduler: Any, board: Any) -> None:
        context = ray.train.get_context()
        self.rank = context.get_world_rank()
        self.job, self.store = job, Store.open(job.storage)
        self.scheduler, self.board = scheduler, board
        self.folder = model_folder(job.student.model, MODEL_CACHE)
        self.tokenizer = load_tokenizer(self.folder)
        dtype = torch.bfloat16 if job.student.precision == "bf16" else torch.float32
        self.student: Student = load_student(self.folder, dtype, _token_loss(job.student)).eval()
        if job.student.lora is not None:
            torch.manual_seed(job.seed)
            add_adapters(self.student.language_model, job.student.lora)
        self.training = StudentTraining(
            self.student,
            prepare_model(self.student),
            job.student,
            TrainingSet(
                Example.from_table(self.store.read_table(job.examples)),
                job.difficulty_weights,
                pad_id(self.tokenizer),
            ),
            Place(self.rank, context.get_world_size()),
        )
        self.history: History = []
        self.num_loss_tokens = 0

    def restore(self) -> int:
        """Load the last committed checkpoint; return the first stage still to train."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return 1
        with checkpoint.as_directory() as folder:
            load_state(self.student, self.training.optimizer, Path(folder))
            position = json.loads((Path(folder) / "position.json").read_text())
        self.history = position["history"]
        self.num_loss_tokens = int(sum(row["loss_tokens"] for row in self.history))
        return int(position["stage"]) + 1

    def has_more_to_do(self, stage: int) -> bool:
        """Whether a stage is to be trained: up to the last one, or until the budget is used."""
        return stage <= self.job.num_stages if self._budget is None else not self._is_used_up()

    @property
    def _budget(self) -> int | None:
        return self.job.student.loss_token_budget

    def _is_used_up(self) -> bool:
        return self._budget is not None and self.num_loss_tokens >= self._budget

    def train_stage(self, stage: int) -> None:
        """Train one stage on the questions and given steps that the scheduler decides on."""
        torch.manual_seed(self.job.seed * 1_000_003 + stage)
        given = self._given_steps(stage)
        self.training.begin_stage()
        examples, size = self.training.examples, self.job.student.global_batch_size
        batches = global_batches(
            [i for i, example in enumerate(examples) if example.question_id in given],
            size,
            num_train_steps=num_stage_train_steps(len(examples), size),
            seed=self.job.seed,
            stage=stage,
        )
        for indices in batches:
            started = time.perf_counter()
            metrics = self.training.train_step(indices, given)
            self.num_loss_tokens += int(metrics["loss_tokens"])
            if self.rank == 0:
                metrics |= {"stage": stage, "train_step": len(self.history) + 1}
                metrics["num_train_steps"] = len(batches) * self.job.num_stages
                metrics["seconds"] = time.perf_counter() - started
                metrics["tokens_per_s"] = metrics["tokens"] / metrics["seconds"]
                self.history.append(metrics)
                self.board.post.remote(metrics)
            if self._is_used_up():
                break
        self._write_step_losses(stage)

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
            self.store.write_table(f"{self.job.step_losses}/stage-{stage}.parquet", table)

    def checkpoint(self, stage: int) -> None:
        """Save the finished stage and wait until the save is final."""
        checkpoint = None
        with tempfile.TemporaryDirectory() as name:
            if self.rank == 0:
                save_state(self.student, self.training.optimizer, Path(name))
                position = {"stage": stage, "history": self.history}
                (Path(name) / "position.json").write_text(json.dumps(position))
                checkpoint = Checkpoint.from_directory(name)
                statistics = _stage_statistics(self.history, stage)
                ray.get(self.scheduler.report_stage.remote(stage, statistics))
            ray.train.report({"stage": stage}, checkpoint=checkpoint)
        ray.train.get_all_reported_checkpoints(consistency_mode=CheckpointConsistencyMode.COMMITTED)

    def export(self) -> None:
        """Write the student as an ordinary Hugging Face folder."""
        if self.rank != 0:
            return
        merge_adapters(self.student.language_model)
        with tempfile.TemporaryDirectory() as name:
            self.student.language_model.save_pretrained(name)
            self.tokenizer.save_pretrained(name)
            for file in sorted(os.listdir(name)):
                self.store.upload(Path(name) / file, f"{self.job.output}/{file}")


def _stage_statistics(history: History, stage: int) -> dict[str, float]:
    rows = [row for row in history if row["stage"] == stage]
    names = ("loss", "rationale_loss", "answer_loss", "token_weight_mean", "tokens_per_s")
    means = {name: float(np.mean([row[name] for row in rows])) for name in names}
    return means | {"train_steps": len(rows)}


def _token_loss(student: StudentConfig) -> TokenLoss:
    return probability_scaled_nll if student.token_weights == "probability" else weighted_nll
