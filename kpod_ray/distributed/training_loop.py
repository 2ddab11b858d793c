"""What one worker of the student's training does: ask for the stage, train on it, checkpoint it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import ray
import ray.train
import torch
import torch.distributed
from ray.train import Checkpoint, CheckpointConsistencyMode
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import prepare_model
from torch import Tensor

from kpod_ray.algorithm.loss import probability_scaled_nll, weighted_nll
from kpod_ray.artifacts import Store
from kpod_ray.config import StudentConfig
from kpod_ray.data.batching import (
    Batch,
    global_batches,
    loss_weight,
    num_loss_tokens,
    num_stage_train_steps,
    worker_share,
)
from kpod_ray.data.examples import Example
from kpod_ray.data.objectives import training_example
from kpod_ray.data.stages import given_steps
from kpod_ray.distributed.scheduler import Decision
from kpod_ray.models.adapters import add_adapters, merge_adapters
from kpod_ray.models.checkpoints import load_state, save_state
from kpod_ray.models.folders import MODEL_CACHE, model_folder
from kpod_ray.models.metrics import NUM_SUMS, StageLosses, loss_sums, step_metrics
from kpod_ray.models.student import Student, TokenLoss, load_student, load_tokenizer, pad_id
from kpod_ray.records import StepLosses

GivenSteps = dict[str, int]
History = list[dict[str, float]]


@dataclasses.dataclass(frozen=True)
class TrainJob:
    """Everything a worker needs to know; plain values."""

    student: StudentConfig
    num_stages: int
    seed: int
    storage: str
    examples: str
    """Path in the store of the table of examples."""
    output: str
    """Folder in the store for the trained student."""
    step_losses: str
    """Folder in the store for the losses of every stage's reasoning steps."""
    difficulty_weights: Literal["learned", "uniform"]
    """Token weights inside a step in these losses."""
    num_threads: int


def train_worker(settings: dict[str, Any]) -> dict[str, Any]:
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
        self.rank, self.num_workers = context.get_world_rank(), context.get_world_size()
        self.job, self.store = job, Store.open(job.storage)
        self.scheduler, self.board = scheduler, board
        self.folder = model_folder(job.student.model, MODEL_CACHE)
        self.tokenizer = load_tokenizer(self.folder)
        dtype = torch.bfloat16 if job.student.precision == "bf16" else torch.float32
        # Without dropout the loss does not depend on how a batch is split.
        self.student: Student = load_student(self.folder, dtype, _token_loss(job.student)).eval()
        if job.student.lora is not None:
            torch.manual_seed(job.seed)
            add_adapters(self.student.language_model, job.student.lora)
        self.module = prepare_model(self.student)
        self.optimizer = torch.optim.AdamW(
            self.module.parameters(),
            lr=job.student.learning_rate,
            weight_decay=job.student.weight_decay,
        )
        self.device = next(self.module.parameters()).device
        examples = Example.from_table(self.store.read_table(job.examples))
        examples.sort(key=lambda example: example.question_id)
        self.difficulty_weights = [_difficulty_weights(e, job.difficulty_weights) for e in examples]
        self.examples = [training_example(example, job.student) for example in examples]
        self.history: History = []
        self.num_loss_tokens = 0

    def restore(self) -> int:
        """Load the last committed checkpoint; return the first stage still to train."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return 1
        with checkpoint.as_directory() as folder:
            load_state(self.student, self.optimizer, Path(folder))
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
        self.stage_losses = StageLosses(self.examples, self.difficulty_weights)
        size = self.job.student.global_batch_size
        batches = global_batches(
            [i for i, example in enumerate(self.examples) if example.question_id in given],
            size,
            num_train_steps=num_stage_train_steps(len(self.examples), size),
            seed=self.job.seed,
            stage=stage,
        )
        for indices in batches:
            started = time.perf_counter()
            metrics = self._train_step(indices, given)
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
        if self.num_workers > 1:
            sums = self.stage_losses.sums.to(self.device)
            torch.distributed.all_reduce(sums)
            self.stage_losses.sums = sums.cpu()
        if self.rank == 0:
            means = zip(self.examples, self.stage_losses.means(), strict=True)
            table = StepLosses.to_table(StepLosses(e.question_id, values) for e, values in means)
            self.store.write_table(f"{self.job.step_losses}/stage-{stage}.parquet", table)

    def _train_step(self, indices: list[int], given: GivenSteps) -> dict[str, float]:
        """One optimiser update: a sum over the global batch, divided once."""
        denominator = self._denominator(indices, given)
        sums, token_nll = torch.zeros(NUM_SUMS), []
        batches = self._micro_batches(indices, given)
        for i, batch in enumerate(batches):
            is_last = i == len(batches) - 1
            with contextlib.nullcontext() if is_last else self._without_sync():
                parts = self.module(batch)
                # DDP averages over the workers: times their number makes it a sum.
                (parts.total * (self.num_workers / denominator)).backward()
            sums += loss_sums(batch, parts)
            token_nll.append(parts.token_nll)
        self._count_step_losses(indices, given, torch.cat(token_nll))
        if self.job.student.max_grad_norm is not None:
            parameters = self.module.parameters()
            torch.nn.utils.clip_grad_norm_(parameters, self.job.student.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.num_workers > 1:
            sums = sums.to(self.device)
            torch.distributed.all_reduce(sums)
        metrics = step_metrics(sums, denominator)
        return metrics | {"tokens": sum(self.examples[i].num_tokens() for i in indices)}

    def _count_step_losses(self, indices: list[int], given: GivenSteps, token_nll: Tensor) -> None:
        mine = worker_share(indices, self.rank, self.num_workers)
        if mine:  # one without examples has computed another's
            steps = [given[self.examples[i].question_id] for i in mine]
            self.stage_losses.add(mine, steps, token_nll)

    def _without_sync(self) -> contextlib.AbstractContextManager[None]:
        return self.module.no_sync() if self.num_workers > 1 else contextlib.nullcontext()

    def _denominator(self, indices: list[int], given: GivenSteps) -> float:
        examples = [self.examples[i] for i in indices]
        if self.job.student.denominator == "examples":
            return float(len(examples))
        measure = loss_weight if self.job.student.denominator == "weight" else num_loss_tokens
        return float(sum(measure(e, given[e.question_id]) for e in examples))

    def _micro_batches(self, indices: list[int], given: GivenSteps) -> list[Batch]:
        """Return this worker's batches; one without examples takes part with weight 0."""
        mine = worker_share(indices, self.rank, self.num_workers)
        is_idle = not mine
        mine = mine or indices[:1]
        size = self.job.student.micro_batch_size
        batches = []
        for start in range(0, len(mine), size):
            examples = [self.examples[i] for i in mine[start : start + size]]
            steps = [given[example.question_id] for example in examples]
            batch = self.student.collate(examples, steps, pad_id(self.tokenizer))
            if is_idle:
                batch = dataclasses.replace(batch, token_weights=batch.token_weights * 0)
            batches.append(batch.to(self.device))
        return batches

    def checkpoint(self, stage: int) -> None:
        """Save the finished stage and wait until the save is final."""
        checkpoint = None
        with tempfile.TemporaryDirectory() as name:
            if self.rank == 0:
                save_state(self.student, self.optimizer, Path(name))
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


def _difficulty_weights(example: Example, kind: str) -> Sequence[float]:
    """Weights of Eq. 8, whatever the weights of the loss are."""
    return example.token_weights if kind == "learned" else [1.0] * len(example.token_weights)
