"""Batches of examples for causal students, padded or packed, with the tokens that are in the loss."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kpod_ray.data.examples import Example
from kpod_ray.kernels.packed_layout import PackedLayout, place_sequences


@dataclasses.dataclass(frozen=True)
class Batch:
    """B right-padded sequences, and the N positions that predict the tokens in the loss.

    The N positions are in the order of the rows, and of the tokens in a row; N may be 0.
    """

    input_ids: Tensor
    """[B, L] token ids."""
    attention_mask: Tensor
    """[B, L], 1 where a token exists, 0 at padding."""
    rows: Tensor
    """[N], row of each predicting position."""
    columns: Tensor
    """[N], column of each predicting position; the label is the token in the next column."""
    labels: Tensor
    """[N], int64, token ids of the labels."""
    token_weights: Tensor
    """[N], float32, weight of each label in the loss (`Example.token_weights`)."""
    in_rationale: Tensor
    """[N] bool, whether each label belongs to the rationale rather than to the answer segment."""
    is_keypoint: Tensor
    """[N] bool, whether each label is a keypoint of the rationale (`Example.token_keypoints`)."""

    def to(self, device: torch.device) -> Self:
        """Return a copy of the batch on a device; tensors that are already there are shared."""
        values = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        moved = {name: value.to(device) for name, value in values if isinstance(value, Tensor)}
        return dataclasses.replace(self, **moved)

    def model_inputs(self) -> dict[str, Any]:
        """Return the keyword arguments of the model: ``input_ids`` and ``attention_mask``."""
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}

    def num_slots(self) -> int:
        """Return the number of positions that the model computes, B times L, padding included."""
        return self.input_ids.numel()

    def num_tokens(self) -> Tensor:
        """Return the number of tokens of the examples, an int64 scalar on the batch's device."""
        return self.attention_mask.sum()


def num_loss_tokens(example: Example, num_given_steps: int) -> int:
    """Return the number of an example's target tokens after the given steps, those in the loss."""
    return sum(step >= num_given_steps for step in example.token_steps)


def loss_weight(example: Example, num_given_steps: int) -> float:
    """Return the sum of the token weights of the target tokens that `num_loss_tokens` counts."""
    pairs = zip(example.token_weights, example.token_steps, strict=True)
    return float(sum(weight for weight, step in pairs if step >= num_given_steps))


def collate(examples: Sequence[Example], num_given_steps: Sequence[int], pad_id: int) -> Batch:
    """Pad examples into a batch for a causal model, with the loss after the given steps (Eq. 15).

    A row is the prompt and the whole target of an example. The tensors are on the CPU.

    Args:
        examples: B examples, at least one, each with at least one prompt token.
        num_given_steps: [B], number of given steps of each example, from 0 to its ``num_steps``.
        pad_id: token id of padding.

    Raises:
        ValueError: The numbers of examples and of ``num_given_steps`` differ.
        RuntimeError: There is no example.
    """
    sequences = [[*example.prompt_ids, *example.target_ids] for example in examples]
    firsts = [len(example.prompt_ids) - 1 for example in examples]
    input_ids, attention_mask = padded(sequences, pad_id)
    return Batch(input_ids, attention_mask, **loss_tokens(examples, num_given_steps, firsts))


def padded(
    sequences: Sequence[Sequence[int]], pad_id: int, side: Literal["left", "right"] = "right"
) -> tuple[Tensor, Tensor]:
    """Pad B token id sequences, at least one, to the length L of the longest; a sequence may be empty.

    Returns:
        The token ids and the attention mask (1 where a token exists, 0 at padding), both [B, L], int64,
        on the CPU.

    Raises:
        RuntimeError: There is no sequence.
    """
    ids = [torch.tensor(sequence, dtype=torch.long) for sequence in sequences]
    ones = [torch.ones_like(each) for each in ids]
    return (
        pad_sequence(ids, batch_first=True, padding_value=pad_id, padding_side=side),
        pad_sequence(ones, batch_first=True, padding_side=side),
    )


def loss_tokens(
    examples: Sequence[Example], num_given_steps: Sequence[int], firsts: Sequence[int]
) -> dict[str, Tensor]:
    """Return the fields of `Batch` that describe the tokens in the loss, by field name, on the CPU.

    The fields are ``rows``, ``columns``, ``labels``, ``token_weights``, ``in_rationale`` and
    ``is_keypoint``.

    Args:
        examples: B examples; example i is in row i.
        num_given_steps: [B], number of given steps of each example.
        firsts: [B], column that predicts the first target token of each example, whether or not this
            token is in the loss; in a causal model, the column of the last prompt token.

    Raises:
        ValueError: The numbers of examples and of ``num_given_steps`` differ.
    """
    rows: list[int] = []
    columns: list[int] = []
    labels: list[int] = []
    weights: list[float] = []
    in_rationale: list[bool] = []
    is_keypoint: list[bool] = []
    for row, (example, given) in enumerate(zip(examples, num_given_steps, strict=True)):
        end = len(example.target_ids)
        start = end - num_loss_tokens(example, given)  # the tokens in the loss are the last ones
        rows += [row] * (end - start)
        columns += range(firsts[row] + start, firsts[row] + end)
        labels += example.target_ids[start:]
        weights += example.token_weights[start:]
        in_rationale += [step < example.num_steps for step in example.token_steps[start:]]
        is_keypoint += example.token_keypoints[start:]
    return {
        # The types are explicit because the lists may be empty.
        "rows": torch.tensor(rows, dtype=torch.long),
        "columns": torch.tensor(columns, dtype=torch.long),
        "labels": torch.tensor(labels, dtype=torch.long),
        "token_weights": torch.tensor(weights, dtype=torch.float32),
        "in_rationale": torch.tensor(in_rationale, dtype=torch.bool),
        "is_keypoint": torch.tensor(is_keypoint, dtype=torch.bool),
    }


MIN_SHARED_PREFIX_FRACTION = 1 / 16
"""Smallest fraction of a batch's tokens that a shared prefix must save; a prefix that saves less is
computed separately in each sequence."""


@dataclasses.dataclass(frozen=True)
class PackedBatch(Batch):
    """Examples one after the other in a single row, without padding; B is 1.

    The shared prefix of the examples, such as the first message of a chat template, occurs once, at the
    start of the row. The last token of each example, which predicts nothing, is left out.
    """

    position_ids: Tensor
    """[1, L], position of each token in its own sequence."""
    sequences: PackedLayout
    """Layout of the sequences in the row."""

    def to(self, device: torch.device) -> Self:
        """Return a copy of the batch on a device; tensors that are already there are shared."""
        return dataclasses.replace(super().to(device), sequences=self.sequences.to(device))

    def model_inputs(self) -> dict[str, Any]:
        """Return the model's keyword arguments: ``input_ids``, ``position_ids`` and ``sequences``.

        The model must be prepared by `models.packing.use_packing`.
        """
        return {name: getattr(self, name) for name in ("input_ids", "position_ids", "sequences")}

    def num_tokens(self) -> Tensor:
        """Return the number of tokens of the examples, an int32 scalar on the batch's device.

        The shared prefix counts for each example, and so do the last tokens, which the row leaves out.
        """
        return self.sequences.bounds[-1] + len(self.sequences.lengths)


def collate_packed(examples: Sequence[Example], num_given_steps: Sequence[int]) -> PackedBatch:
    """Pack examples into a batch for a causal model, with the loss after the given steps (Eq. 15).

    The leading tokens that all examples share become one shared prefix if that saves at least
    `MIN_SHARED_PREFIX_FRACTION` of the tokens. The tensors are on the CPU.

    Args:
        examples: at least one, in the order of the row, each with at least one prompt token and one
            target token.
        num_given_steps: number of given steps of each example, from 0 to its ``num_steps``.

    Raises:
        ValueError: There is no example, or the numbers of examples and of ``num_given_steps`` differ.
    """
    ids = [[*example.prompt_ids, *example.target_ids[:-1]] for example in examples]
    num_shared_prefix_tokens = _num_shared_prefix_tokens(ids)
    sequences = place_sequences([len(each) for each in ids], num_shared_prefix_tokens)
    own = (each[num_shared_prefix_tokens:] for each in ids)
    row = [*ids[0][:num_shared_prefix_tokens], *itertools.chain.from_iterable(own)]
    firsts = [len(example.prompt_ids) - 1 for example in examples]
    tokens = loss_tokens(examples, num_given_steps, firsts)
    starts = sequences.bounds[:-1].long()
    # `loss_tokens` returned the position in each sequence; the layout turns it into the column of the
    # row.
    tokens["columns"] = sequences.row_places[starts[tokens["rows"]] + tokens["columns"]]
    tokens["rows"] = torch.zeros_like(tokens["rows"])
    positions = torch.cat([torch.arange(length) for length in sequences.lengths])
    return PackedBatch(
        torch.tensor([row]),
        torch.ones(1, len(row), dtype=torch.long),
        **tokens,
        position_ids=positions[None, sequences.own_places],
        sequences=sequences,
    )


def _num_shared_prefix_tokens(ids: Sequence[list[int]]) -> int:
    """Return the number of leading tokens that all sequences share; 0 if the prefix saves too little."""
    # The last token is left out, so that every sequence keeps at least one token of its own.
    columns = zip(*(each[:-1] for each in ids), strict=False)
    num_shared = sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))
    num_saved = num_shared * (len(ids) - 1)
    num_tokens = sum(map(len, ids))
    return num_shared if num_saved >= MIN_SHARED_PREFIX_FRACTION * num_tokens else 0
