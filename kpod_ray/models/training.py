"""The student in training: one optimiser update after another, the same for any number of workers.

A train step is a sum over its global batch, divided once; each worker computes its share of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.distributed
from torch import Tensor

from kpod_ray.config import StudentConfig
from kpod_ray.data.batching import Batch, loss_weight, num_loss_tokens, worker_share
from kpod_ray.data.examples import Example
from kpod_ray.data.objectives import training_example
from kpod_ray.models.metrics import NUM_SUMS, StageLosses, loss_sums, step_metrics
from kpod_ray.models.student import Student

GivenSteps = Mapping[str, int]
"""Number of given steps of every question that takes part, by question id."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Which worker this is."""

    rank: int
    num_workers: int


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """What is trained on."""

    examples: Sequence[Example]
    """All examples, with the learned token weights."""
    difficulty_weights: Literal["learned", "uniform"]
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
        place: Place,
    ) -> None:
        self.student, self.module, self.config = student, module, config
        self.place, self.pad_id = place, training_set.pad_id
        self.optimizer = torch.optim.AdamW(
            module.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.device = next(module.parameters()).device
        ordered = sorted(training_set.examples, key=lambda example: example.question_id)
        self.examples = [training_example(example, config) for example in ordered]
        self._step_weights = [_step_weights(e, training_set.difficulty_weights) for e in ordered]
        self.begin_stage()

    def begin_stage(self) -> None:
        """Forget the losses of the reasoning steps measured so far."""
        self._stage_losses = StageLosses(self.examples, self._step_weights)

    def step_losses(self) -> list[list[float]]:
        """Return Eq. 8 of each example's emitted steps in this stage; on all workers alike.

        They were measured on the way, under the student as it was at each train step; NaN where a
        step was given.
        """
        if self.place.num_workers > 1:
            sums = self._stage_losses.sums.to(self.device)
            torch.distributed.all_reduce(sums)
            self._stage_losses.sums = sums.cpu()
        return self._stage_losses.means()

    def train_step(self, indices: list[int], given: GivenSteps) -> dict[str, float]:
        """Do one optimiser update over a global batch; return its metrics, on all workers alike."""
        denominator = self._denominator(indices, given)
        sums, token_nll = torch.zeros(NUM_SUMS), []
        batches = self._micro_batches(indices, given)
        for i, batch in enumerate(batches):
            is_last = i == len(batches) - 1
            with contextlib.nullcontext() if is_last else self._without_sync():
                parts = self.module(batch)
                # DDP averages over the workers: times their number makes it a sum.
                (parts.total * (self.place.num_workers / denominator)).backward()
            sums += loss_sums(batch, parts)
            token_nll.append(parts.token_nll)
        self._count_step_losses(indices, given, torch.cat(token_nll))
        self._update()
        if self.place.num_workers > 1:
            sums = sums.to(self.device)
            torch.distributed.all_reduce(sums)
        metrics = step_metrics(sums, denominator)
        return metrics | {"tokens": sum(self.examples[i].num_tokens() for i in indices)}

    def _update(self) -> None:
        if self.config.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _count_step_losses(self, indices: list[int], given: GivenSteps, token_nll: Tensor) -> None:
        mine = worker_share(indices, self.place.rank, self.place.num_workers)
        if mine:  # one without examples has computed another's
            steps = [given[self.examples[i].question_id] for i in mine]
            self._stage_losses.add(mine, steps, token_nll)

    def _without_sync(self) -> contextlib.AbstractContextManager[None]:
        return self.module.no_sync() if self.place.num_workers > 1 else contextlib.nullcontext()

    def _denominator(self, indices: list[int], given: GivenSteps) -> float:
        examples = [self.examples[i] for i in indices]
        if self.config.denominator == "examples":
            return float(len(examples))
        measure = loss_weight if self.config.denominator == "weight" else num_loss_tokens
        return float(sum(measure(e, given[e.question_id]) for e in examples))

    def _micro_batches(self, indices: list[int], given: GivenSteps) -> list[Batch]:
        """Return this worker's batches; one without examples takes part with weight 0."""
        mine = worker_share(indices, self.place.rank, self.place.num_workers)
        is_idle = not mine
        mine = mine or indices[:1]
        batches = []
        for start in range(0, len(mine), self.config.micro_batch_size):
            examples = [
                self.examples[i] for i in mine[start : start + self.config.micro_batch_size]
            ]
            steps = [given[example.question_id] for example in examples]
            batch = self.student.collate(examples, steps, self.pad_id)
            if is_idle:
                batch = dataclasses.replace(batch, token_weights=batch.token_weights * 0)
            batches.append(batch.to(self.device))
        return batches


def _step_weights(example: Example, kind: str) -> Sequence[float]:
    """Weights of Eq. 8, whatever the weights of the loss are."""
    return example.token_weights if kind == "learned" else [1.0] * len(example.token_weights)
