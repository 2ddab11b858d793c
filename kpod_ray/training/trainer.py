"""The student in training: one optimiser update after another, the same for any number of workers.

A train step is a sum over its global batch, divided once; each worker computes its share of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.distributed
from torch import Tensor

from kpod_ray.config import StudentConfig
from kpod_ray.data.batches import Batch, loss_weight, num_loss_tokens
from kpod_ray.data.examples import Example, training_example
from kpod_ray.data.sampler import micro_batches
from kpod_ray.errors import KpodError
from kpod_ray.models.student import Student
from kpod_ray.training.learning_rate import learning_rate_factor
from kpod_ray.training.metrics import NUM_SUMS, StageLosses, loss_sums, step_metrics
from kpod_ray.training.parallel import clip_gradients, is_sharded, no_sync

GivenSteps = Mapping[str, int]
"""Number of given steps of every question that takes part, by question id."""


@dataclasses.dataclass(frozen=True)
class WorkerRank:
    """Which worker this is."""

    rank: int
    num_workers: int


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """What is trained on."""

    examples: Sequence[Example]
    """All examples, with the token weights of ``weighting``."""
    difficulty_weights: Literal["from_weighting", "uniform"]
    """Token weights inside a step in the losses of reasoning steps."""
    pad_id: int
    """Token to pad with."""


class StudentTraining:
    """Student, optimizer and examples of one worker.

    Args:
        student: whose loss is computed; in evaluation mode, since without dropout the loss does not
            depend on how a batch is split.
        module: the student, wrapped for several workers if there are several.
        config: how it is optimised.
        training_set: what it is trained on.
        place: which worker this is.
    """

    def __init__(
        self,
        student: Student,
        module: Any,
        config: StudentConfig,
        training_set: TrainingSet,
        worker: WorkerRank,
    ) -> None:
        self.student, self.module, self.config = student, module, config
        self.worker, self.pad_id = worker, training_set.pad_id
        self.optimizer = torch.optim.AdamW(
            module.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        _make_state(self.optimizer)
        self.device = next(module.parameters()).device
        ordered = sorted(training_set.examples, key=lambda example: example.question_id)
        self.examples = [training_example(example, config) for example in ordered]
        self._lengths = [example.num_tokens() for example in self.examples]
        self._step_weights = [_step_weights(e, training_set.difficulty_weights) for e in ordered]
        self.begin_stage()

    def begin_stage(self, step_loss_sums: Tensor | None = None) -> None:
        """Forget the losses of the reasoning steps measured so far, or go on from their sums."""
        self._stage_losses = StageLosses(self.examples, self._step_weights)
        if step_loss_sums is not None and self.worker.rank == 0:  # it stands for all workers
            self._stage_losses.sums = step_loss_sums

    def step_loss_sums(self) -> Tensor:
        """Return what `step_losses` are made of, over all workers; to go on from later."""
        sums = self._stage_losses.sums.to(self.device, copy=True)
        if self.worker.num_workers > 1:
            torch.distributed.all_reduce(sums)
        return sums.cpu()

    def step_losses(self) -> list[list[float]]:
        """Return Eq. 8 of each example's emitted steps in this stage; on all workers alike.

        They were measured on the way, under the student as it was at each train step; NaN where a
        step was given.
        """
        return self._stage_losses.means(self.step_loss_sums())

    def train_step(self, indices: list[int], given: GivenSteps, done: float) -> dict[str, float]:
        """Do one optimiser update over a global batch; return its metrics, on all workers alike.

        Args:
            indices: examples of the global batch.
            given: given steps of every question.
            done: share of the training that is done, [0, 1).

        Raises:
            KpodError: No token is in the loss, or the gradient isn't finite; the student is as it was.
        """
        denominator = self._denominator(indices, given)
        sums = torch.zeros(NUM_SUMS, dtype=torch.float64, device=self.device)
        passes = self._passes(indices)
        measured: list[tuple[list[int], Tensor]] = []
        for i, (rows, is_idle) in enumerate(passes):
            batch = self._batch(rows, given, is_idle)
            with contextlib.nullcontext() if i == len(passes) - 1 else no_sync(self.module):
                parts = self.module(batch)
                # DDP and FSDP average over the workers: times their number makes it a sum.
                (parts.total * (self.worker.num_workers / denominator)).backward()
            if not is_idle:
                sums += loss_sums(batch, parts)
                measured.append((rows, parts.token_nll))
        learning_rate = self._learning_rate(done)
        grad_norm = self._clip_gradients(indices)
        if self.worker.num_workers > 1:
            torch.distributed.all_reduce(sums)
        sums, measured = sums.cpu(), [(rows, token_nll.cpu()) for rows, token_nll in measured]
        self._update(learning_rate)  # on a GPU while the rest is done here
        for rows, token_nll in measured:
            steps = [given[self.examples[row].question_id] for row in rows]
            self._stage_losses.add(rows, steps, token_nll)
        return step_metrics(sums, denominator) | {
            "tokens": sum(self._lengths[i] for i in indices),
            "given_steps_mean": statistics.fmean(
                given[self.examples[i].question_id] for i in indices
            ),
            "grad_norm": grad_norm,
            "learning_rate": learning_rate,
        }

    def _passes(self, indices: Sequence[int]) -> list[tuple[list[int], bool]]:
        """Return the examples of each of this worker's passes, and whether they are only company.

        A worker without examples takes part with another's, at weight 0. So does one that has fewer
        passes than another where the student is sharded: every pass needs all workers.
        """
        rank, num_workers = self.worker.rank, self.worker.num_workers

        def batches_of(worker: int) -> list[list[int]]:
            """Return the examples of each pass that a worker has of its own."""
            most = self.config.micro_batch_tokens
            return micro_batches(indices, self._lengths, most, worker, num_workers)

        mine = batches_of(rank)
        passes = [(rows, rank >= len(indices)) for rows in mine]
        if is_sharded(self.module):
            most_passes = max(len(batches_of(worker)) for worker in range(num_workers))
            passes += [(mine[0][:1], True)] * (most_passes - len(mine))
        return passes

    def _clip_gradients(self, indices: Sequence[int]) -> float:
        """Scale the gradient down to the largest norm; return the norm it had."""
        max_norm = math.inf if self.config.max_grad_norm is None else self.config.max_grad_norm
        norm = clip_gradients(self.module, max_norm)
        if not math.isfinite(norm):
            raise KpodError(
                f"the gradient of questions {self._names(indices)} isn't finite; lower "
                "student.learning_rate"
            )
        return norm

    def _learning_rate(self, done: float) -> float:
        schedule, warmup = self.config.learning_rate_schedule, self.config.warmup
        return self.config.learning_rate * learning_rate_factor(schedule, warmup, done)

    def _update(self, learning_rate: float) -> None:
        """Update the parameters."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _denominator(self, indices: list[int], given: GivenSteps) -> float:
        examples = [self.examples[i] for i in indices]
        weight = sum(loss_weight(e, given[e.question_id]) for e in examples)
        if not weight > 0:
            raise KpodError(
                f"nothing of questions {self._names(indices)} is in the loss; raise "
                "student.max_length, or set student.overlength=drop"
            )
        if self.config.loss_normalization == "examples":
            return float(len(examples))
        if self.config.loss_normalization == "weight":
            return weight
        return float(sum(num_loss_tokens(e, given[e.question_id]) for e in examples))

    def _names(self, indices: Sequence[int]) -> str:
        return ", ".join(sorted({self.examples[i].question_id for i in indices}))

    def _batch(self, rows: Sequence[int], given: GivenSteps, is_idle: bool) -> Batch:
        examples = [self.examples[row] for row in rows]
        steps = [given[example.question_id] for example in examples]
        batch = self.student.collate(examples, steps, self.pad_id)
        if is_idle:
            batch = dataclasses.replace(batch, token_weights=batch.token_weights * 0)
        return batch.to(self.device)


def _make_state(optimizer: torch.optim.AdamW) -> None:
    """Make the optimizer's state before the first train step: later, memory would be in pieces."""
    for parameter in optimizer.param_groups[0]["params"]:
        if parameter.requires_grad:
            optimizer.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }


def _step_weights(example: Example, kind: str) -> Sequence[float]:
    """Weights of Eq. 8, whatever the weights of the loss are."""
    return example.token_weights if kind == "from_weighting" else [1.0] * len(example.token_weights)
