"""Train steps of the student: forward and backward passes, and the update of the parameters.

The loss of a train step is a sum over the global batch, divided once by a denominator. Each worker
computes its share of the sum in micro-batches (gradient accumulation). Except for rounding, the result
doesn't depend on the number of workers or the size of the micro-batches.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.distributed
from torch import Tensor

from kpod_ray.config import StudentConfig
from kpod_ray.data.batches import Batch, loss_weight, num_loss_tokens
from kpod_ray.data.examples import Example
from kpod_ray.data.sampler import micro_batches
from kpod_ray.data.training_examples import training_example
from kpod_ray.errors import KpodError
from kpod_ray.models.finite import check_finite
from kpod_ray.models.student import Student
from kpod_ray.training.metrics import NUM_SUMS, StageLosses, loss_sums, step_metrics
from kpod_ray.training.optimizer import build_optimizer, learning_rate_at, update
from kpod_ray.training.parallel import clip_gradients, is_sharded, no_sync

GivenSteps = Mapping[str, int]
"""Number of given steps of each question of a stage, by question id."""


@dataclasses.dataclass(frozen=True)
class WorkerRank:
    """The rank of a worker, from 0, and the number of workers."""

    rank: int
    num_workers: int


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """The training examples and how to use them."""

    examples: Sequence[Example]
    """All training examples in any order, with the token weights of phase ``weighting``."""
    difficulty_weights: Literal["from_weighting", "uniform"]
    """Token weights inside a reasoning step in the step losses (Eq. 8)."""
    pad_id: int
    """Token id of padding."""
    seed: int
    """Seed of the permutations with ``student.token_weights: shuffled``."""


class StudentTraining:
    """The training on one worker: student, optimizer, examples and losses of reasoning steps.

    The attribute ``examples`` holds the training examples sorted by question id, as `training_example`
    changes them by the settings. Indices of examples are indices into this list. The constructor makes
    the optimizer, AdamW, and begins a stage.

    Args:
        student: the student on its device, in evaluation mode: without dropout, the loss doesn't depend
            on how a global batch is split. All workers hold equal parameters.
        module: the student itself, or sharded, or wrapped in DDP; with several workers one of the latter
            two, and torch's process group is initialized.
        config: settings of the student, with which it was built.
        training_set: the training examples, the same on all workers.
        worker: rank of this worker.
    """

    def __init__(
        self,
        student: Student,
        module: Any,
        config: StudentConfig,
        training_set: TrainingSet,
        worker: WorkerRank,
    ) -> None:
        self.student = student
        self.module = module
        self.config = config
        self.worker = worker
        self.pad_id = training_set.pad_id
        self.optimizer = build_optimizer(module, config)
        self.device = next(module.parameters()).device
        ordered = sorted(training_set.examples, key=lambda example: example.question_id)
        self.examples = [
            training_example(example, config, training_set.seed) for example in ordered
        ]
        self._lengths = [example.num_tokens() for example in self.examples]
        self._step_weights = [_step_weights(e, training_set.difficulty_weights) for e in ordered]
        self.is_to_leave = False
        self.begin_stage()

    def begin_stage(self, step_loss_sums: Tensor | None = None) -> None:
        """Reset the accumulated losses of reasoning steps, or restore them from a checkpoint.

        Every worker calls this method at the start of each stage and after a restart within a stage.
        ``step_loss_sums`` has the sums over all workers from the method of this name; rank 0 adds to it
        in place, and the other ranks ignore it. None starts at 0.
        """
        self._stage_losses = StageLosses(self.examples, self._step_weights)
        # The restored sums are those of all workers together, so only rank 0 continues from them.
        if step_loss_sums is not None and self.worker.rank == 0:
            self._stage_losses.sums = step_loss_sums

    def step_loss_sums(self) -> Tensor:
        """Return a copy of the stage's accumulated sums over all workers; see `StageLosses.sums`.

        The sums are those since the last `begin_stage`, restored ones included. All workers must call
        this method, and get the same result: [2, steps of all examples], float64, on the CPU.
        """
        sums = self._stage_losses.sums.to(self.device, copy=True)
        if self.worker.num_workers > 1:
            torch.distributed.all_reduce(sums)
        return sums.cpu()

    def step_losses(self) -> list[list[float]]:
        """Return the loss (Eq. 8) of each reasoning step of each example in this stage, in nats.

        Each train step since `begin_stage` measures the loss before its update of the parameters; the
        visits of an example are averaged. A reasoning step without a loss in this stage, such as a given
        step, has loss NaN. All workers must call this method, and get the same result: one list for each
        of ``examples``, in order.
        """
        return self._stage_losses.means(self.step_loss_sums())

    def train_step(
        self,
        indices: list[int],
        given: GivenSteps,
        done: float,
        wants_to_leave: Callable[[], bool] = lambda: False,
    ) -> dict[str, float]:
        """Update the parameters once with a global batch; all workers must call this method.

        The losses of the reasoning steps are added to those of the stage (`step_losses`).

        Args:
            indices: indices into ``examples`` of the global batch, not empty, the same on all workers.
            given: number of given steps, at least for the questions of the global batch.
            done: fraction of the training that is done, in [0, 1), for the learning rate.
            wants_to_leave: called once, after the backward passes; if it is true on a worker,
                ``is_to_leave`` is true on all workers afterwards.

        Returns:
            The metrics of the train step, the same on all workers: those of `step_metrics`, ``tokens``
            (of prompts and targets), ``given_steps_mean``, ``grad_norm`` (unclipped), ``learning_rate``.

        Raises:
            KpodError: No token has a weight in the loss, or the gradient isn't finite. All workers raise
                it; the parameters are unchanged, and no further train step is possible.
        """
        denominator = self._denominator(indices, given)
        sums, measured = self._backward(indices, given, denominator)
        # The vote travels with the sums, which are added over the workers anyway.
        sums = torch.cat([sums, sums.new_tensor([wants_to_leave()])])
        learning_rate = learning_rate_at(done, self.config)
        grad_norm = self._clip_gradients(indices)
        if self.worker.num_workers > 1:
            torch.distributed.all_reduce(sums)
        sums, votes = sums.cpu().split([NUM_SUMS, 1])
        self.is_to_leave = bool(votes > 0)
        measured = [(rows, token_nll.cpu()) for rows, token_nll in measured]
        # A GPU runs the update asynchronously. Copies to the CPU wait for the GPU, so they come before
        # the update; the loop below then runs on the CPU at the same time as the update.
        update(self.optimizer, learning_rate)
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

    def _backward(
        self, indices: list[int], given: GivenSteps, denominator: float
    ) -> tuple[Tensor, list[tuple[list[int], Tensor]]]:
        """Run a global batch's passes; return this worker's sums, and each pass's rows and losses."""
        sums = torch.zeros(NUM_SUMS, dtype=torch.float64, device=self.device)
        passes = self._passes(indices)
        measured: list[tuple[list[int], Tensor]] = []
        for i, (rows, is_idle) in enumerate(passes):
            batch = self._batch(rows, given, is_idle)
            # Gradients accumulate locally; the last backward pass synchronizes them.
            with contextlib.nullcontext() if i == len(passes) - 1 else no_sync(self.module):
                parts = self.module(batch)
                # DDP and FSDP average gradients over the workers; the factor turns the mean into a sum.
                (parts.total * (self.worker.num_workers / denominator)).backward()
            if not is_idle:
                sums += loss_sums(batch, parts)
                measured.append((rows, parts.token_nll))
        return sums, measured

    @torch.no_grad()
    def check_update(self, indices: list[int], given: GivenSteps) -> None:
        """Check what the last train step made of the student; all workers must call this method.

        The arguments are those of the last `train_step`, of which each worker runs the first pass again.

        Raises:
            KpodError: The parameters or the loss aren't finite. All workers raise the error.
        """
        check_finite(self.module, "student", "student.learning_rate")
        rows, _ = self._passes(indices)[0]
        loss = self.module(self._batch(rows, given, is_idle=False)).total.detach()
        if self.worker.num_workers > 1:
            torch.distributed.all_reduce(loss)
        if not bool(loss.isfinite()):
            raise KpodError(
                "the student's loss isn't finite after the last update; lower student.learning_rate"
            )

    def _passes(self, indices: Sequence[int]) -> list[tuple[list[int], bool]]:
        """Return this worker's micro-batches: their examples, and whether they are padding passes.

        A padding pass has token weights 0. A worker without examples runs one, with examples of another
        worker, since the gradient synchronization needs all workers. If the student is sharded, each
        worker runs as many passes as the worker with the most.
        """
        rank, num_workers = self.worker.rank, self.worker.num_workers

        def batches_of(worker: int) -> list[list[int]]:
            """Return the micro-batches of a worker, before padding passes are added."""
            most = self.config.micro_batch_tokens
            return micro_batches(indices, self._lengths, most, worker, num_workers)

        own_batches = batches_of(rank)
        # With more workers than examples, `micro_batches` gives the surplus ranks another worker's
        # batch.
        passes = [(rows, rank >= len(indices)) for rows in own_batches]
        if is_sharded(self.module):
            most_passes = max(len(batches_of(worker)) for worker in range(num_workers))
            passes += [(own_batches[0][:1], True)] * (most_passes - len(own_batches))
        return passes

    def _clip_gradients(self, indices: Sequence[int]) -> float:
        """Clip the gradient norm; return the norm before clipping.

        Raises:
            KpodError: The norm isn't finite.
        """
        max_norm = math.inf if self.config.max_grad_norm is None else self.config.max_grad_norm
        norm = clip_gradients(self.module, max_norm)
        if not math.isfinite(norm):
            raise KpodError(
                f"the gradient of questions {self._names(indices)} isn't finite; lower "
                "student.learning_rate"
            )
        return norm

    def _denominator(self, indices: list[int], given: GivenSteps) -> float:
        """Return the divisor of the global batch's summed loss; see ``student.loss_normalization``.

        Raises:
            KpodError: No token of the global batch is in the loss.
        """
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
        """Return the question ids of examples, for an error message."""
        return ", ".join(sorted({self.examples[i].question_id for i in indices}))

    def _batch(self, rows: Sequence[int], given: GivenSteps, is_idle: bool) -> Batch:
        """Return the batch of a pass on the device; a padding pass gets token weights 0."""
        examples = [self.examples[row] for row in rows]
        steps = [given[example.question_id] for example in examples]
        batch = self.student.collate(examples, steps, self.pad_id)
        if is_idle:
            batch = dataclasses.replace(batch, token_weights=batch.token_weights * 0)
        return batch.to(self.device)


def _step_weights(example: Example, kind: str) -> Sequence[float]:
    """Return the token weights of Eq. 8, which may differ from the token weights of the loss."""
    return example.token_weights if kind == "from_weighting" else [1.0] * len(example.token_weights)
