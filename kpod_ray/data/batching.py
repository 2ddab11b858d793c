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
        moved = {field.name: getattr(self, field.name).to(device) for field in fields}
        return dataclasses.replace(self, **moved)

    def model_inputs(self) -> dict[str, Tensor]:
        """Return what a language model reads, by its names."""
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}


@dataclasses.dataclass(frozen=True)
class PairBatch(Batch):
    """A batch for an encoder and a decoder: ``rows`` and ``columns`` are the decoder's positions."""

    decoder_input_ids: Tensor
    """[B, M], right-padded: the start token, then what is written, without its last token."""

    def model_inputs(self) -> dict[str, Tensor]:
        """Return what a language model reads, by its names."""
        return {**super().model_inputs(), "decoder_input_ids": self.decoder_input_ids}


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


def batches_by_tokens(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Cut rows into batches that hold at most so many tokens, padding counted.

    Rows of similar length come together. A row that is longer than that is a batch of its own.

    Returns:
        The indices of each batch's rows.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * lengths[row] <= max_tokens:
            batches[-1].append(row)  # the longest so far: all others are padded to it
        else:
            batches.append([row])
    return batches


def collate(examples: Sequence[Example], num_given_steps: Sequence[int], pad_id: int) -> Batch:
    """Pad examples into a batch for a causal model; each loss starts after the given steps (Eq. 15).

    A token is predicted from the position one to its left.
    """
    sequences = [[*example.prompt_ids, *example.target_ids] for example in examples]
    firsts = [len(example.prompt_ids) - 1 for example in examples]
    input_ids, attention_mask = _padded(sequences, pad_id)
    return Batch(input_ids, attention_mask, **_loss_tokens(examples, num_given_steps, firsts))


def collate_pairs(
    examples: Sequence[Example], num_given_steps: Sequence[int], pad_id: int, start_id: int
) -> PairBatch:
    """Pad examples into a batch for an encoder and a decoder (Eq. 15).

    The encoder reads the question and the given steps, closed by the end-of-sequence token that every
    target has at its end; the decoder writes the other steps and the answer. Its input is moved one
    to the right, so that a token is predicted from the position with the token before it.
    """
    given_ids, written_ids, firsts = [], [], []
    for example, given in zip(examples, num_given_steps, strict=True):
        first = sum(step < given for step in example.token_steps)
        *target, end_id = example.target_ids
        given_ids.append([*example.prompt_ids, *target[:first], end_id])
        written_ids.append([start_id, *target[first:]])
        firsts.append(-first)
    input_ids, attention_mask = _padded(given_ids, pad_id)
    return PairBatch(
        input_ids,
        attention_mask,
        **_loss_tokens(examples, num_given_steps, firsts),
        decoder_input_ids=_padded(written_ids, pad_id)[0],
    )


def _padded(sequences: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Return right-padded ids and where a token exists."""
    input_ids = torch.full((len(sequences), max(map(len, sequences))), pad_id, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    for row, ids in enumerate(sequences):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        attention_mask[row, : len(ids)] = 1
    return input_ids, attention_mask


def _loss_tokens(
    examples: Sequence[Example], num_given_steps: Sequence[int], firsts: Sequence[int]
) -> dict[str, Tensor]:
    """Return the tokens in the loss; ``firsts`` is the column that predicts each target's token 0."""
    rows, columns, labels, weights, in_rationale = [], [], [], [], []
    for row, (example, given) in enumerate(zip(examples, num_given_steps, strict=True)):
        for j, step in enumerate(example.token_steps):
            if step < given:
                continue
            rows.append(row)
            columns.append(firsts[row] + j)
            labels.append(example.target_ids[j])
            weights.append(example.token_weights[j])
            in_rationale.append(step < example.num_steps)
    return {
        "rows": torch.tensor(rows),
        "columns": torch.tensor(columns),
        "labels": torch.tensor(labels),
        "token_weights": torch.tensor(weights, dtype=torch.float32),
        "in_rationale": torch.tensor(in_rationale),
    }
