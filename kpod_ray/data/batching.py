"""Order, split and padding of examples: pure functions of (seed, stage), the same for any workers.

Invariants: a stage visits the examples that take part equally often, but for its last pass; the
global batches don't depend on the number of workers; the workers' parts of a global batch are disjoint
and complete.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kpod_ray.data.examples import Example


@dataclasses.dataclass(frozen=True)
class Batch:
    """Right-padded sequences, and the positions whose hidden state predicts a token in the loss."""

    input_ids: Tensor
    """[B, L] token ids."""
    attention_mask: Tensor
    """[B, L], 1 where a token exists."""
    rows: Tensor
    """[N], row of each predicting position."""
    columns: Tensor
    """[N], column of each predicting position: the label is the token one to the right."""
    labels: Tensor
    """[N], token ids to predict."""
    token_weights: Tensor
    """[N], weight of each label in the loss."""
    in_rationale: Tensor
    """[N], whether the label belongs to the rationale (else to the answer segment)."""

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device."""
        fields = dataclasses.fields(self)
        return Batch(**{field.name: getattr(self, field.name).to(device) for field in fields})


def global_batches(
    indices: Sequence[int], global_batch_size: int, *, num_train_steps: int, seed: int, stage: int
) -> list[list[int]]:
    """Return the example indices of every train step of a stage; the last may be short.

    The examples come in a random order. When they are through before the train steps are, they come
    again in a new one.

    Args:
        indices: examples that take part, at least one.
        global_batch_size: examples of one train step.
        num_train_steps: train steps of the stage.
        seed: of the run.
        stage: t.

    Raises:
        ValueError: No example takes part.
    """
    if not indices:
        raise ValueError(f"no example takes part in stage {stage}")
    generator = np.random.default_rng([seed, stage])
    order: list[int] = []
    while len(order) <= (num_train_steps - 1) * global_batch_size:
        order += generator.permutation(indices).tolist()
    starts = range(0, num_train_steps * global_batch_size, global_batch_size)
    return [order[start : start + global_batch_size] for start in starts]


def num_stage_train_steps(num_examples: int, global_batch_size: int) -> int:
    """Return the train steps of a stage, whatever part of the examples takes part in it."""
    return -(-num_examples // global_batch_size)


def worker_share(indices: Sequence[int], rank: int, num_workers: int) -> list[int]:
    """Return a worker's part of a global batch; it may be empty."""
    return list(indices[rank::num_workers])


def num_loss_tokens(example: Example, num_given_steps: int) -> int:
    """Tokens of an example that carry loss when so many steps are given."""
    return sum(step >= num_given_steps for step in example.token_steps)


def loss_weight(example: Example, num_given_steps: int) -> float:
    """Total token weight of an example's loss when so many steps are given."""
    pairs = zip(example.token_weights, example.token_steps, strict=True)
    return float(sum(weight for weight, step in pairs if step >= num_given_steps))


def collate(examples: Sequence[Example], num_given_steps: Sequence[int], pad_id: int) -> Batch:
    """Pad examples into a batch whose loss starts after each one's given steps (Eq. 15).

    The shift between a token and the position that predicts it happens here and nowhere else.
    """
    length = max(example.num_tokens() for example in examples)
    input_ids = torch.full((len(examples), length), pad_id, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    rows, columns, labels, weights, in_rationale = [], [], [], [], []
    for row, (example, given) in enumerate(zip(examples, num_given_steps, strict=True)):
        ids = [*example.prompt_ids, *example.target_ids]
        input_ids[row, : len(ids)] = torch.tensor(ids)
        attention_mask[row, : len(ids)] = 1
        first = len(example.prompt_ids) - 1
        for j, step in enumerate(example.token_steps):
            if step < given:
                continue
            rows.append(row)
            columns.append(first + j)
            labels.append(example.target_ids[j])
            weights.append(example.token_weights[j])
            in_rationale.append(step < example.num_steps)
    return Batch(
        input_ids=input_ids,
        attention_mask=attention_mask,
        rows=torch.tensor(rows),
        columns=torch.tensor(columns),
        labels=torch.tensor(labels),
        token_weights=torch.tensor(weights, dtype=torch.float32),
        in_rationale=torch.tensor(in_rationale),
    )
