"""Examples one after the other in a single row; what all of them begin with is there once."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from kpod_ray.data.batching import Batch, loss_tokens
from kpod_ray.data.examples import Example

LEAST_SPARED = 1 / 16
"""Share of the tokens that must be spared for common first tokens to be read once."""


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Where S sequences, of M tokens together, stand in a row of L that holds what they share once.

    They share their first P tokens, the first of the row: M = L + (S - 1) P.
    """

    lengths: tuple[int, ...]
    """Tokens of each sequence; they add up to M."""
    bounds: Tensor
    """[S + 1], int32, where each sequence begins among the M tokens, and M."""
    row_places: Tensor
    """[M], where each sequence's tokens stand in the row, one sequence after the other."""
    own_places: Tensor
    """[L], where the row's tokens stand among those M; a shared one in the first sequence."""
    shared_places: Tensor
    """[S P], where the shared tokens stand among those M, one sequence after the other."""

    def to(self, device: torch.device) -> Self:
        """Return the same on another device."""
        names = ("bounds", "row_places", "own_places", "shared_places")
        return dataclasses.replace(self, **{n: getattr(self, n).to(device) for n in names})


@dataclasses.dataclass(frozen=True)
class PackedBatch(Batch):
    """Sequences one after the other in a single row, without padding and without their last tokens.

    What all of them begin with, such as a chat template's first message, is there once, at the start.
    The last token of an example predicts nothing.
    """

    position_ids: Tensor
    """[1, L], position of each token in its own sequence."""
    sequences: Sequences
    """Where each sequence stands in the row."""

    def to(self, device: torch.device) -> Self:
        """Return the batch on another device."""
        return dataclasses.replace(super().to(device), sequences=self.sequences.to(device))

    def model_inputs(self) -> dict[str, Any]:
        """Return what a language model with the attention of `models.packing` reads."""
        return {name: getattr(self, name) for name in ("input_ids", "position_ids", "sequences")}

    def num_tokens(self) -> Tensor:
        """Return the tokens of the examples, read or not, a scalar on the batch's device."""
        return self.sequences.bounds[-1] + len(self.sequences.lengths)


def collate_packed(examples: Sequence[Example], num_given_steps: Sequence[int]) -> PackedBatch:
    """Put examples one after the other into a batch for a causal model (Eq. 15)."""
    ids = [[*example.prompt_ids, *example.target_ids[:-1]] for example in examples]
    shared = _num_shared(ids)
    sequences = place_sequences([len(each) for each in ids], shared)
    row = [*ids[0][:shared], *itertools.chain.from_iterable(each[shared:] for each in ids)]
    firsts = [len(example.prompt_ids) - 1 for example in examples]
    tokens = loss_tokens(examples, num_given_steps, firsts)
    starts = sequences.bounds[:-1].long()
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


def _num_shared(ids: Sequence[list[int]]) -> int:
    """Return how many first tokens are read once: those that all share, if that spares enough."""
    columns = zip(*(each[:-1] for each in ids), strict=False)  # every sequence has one of its own
    shared = sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))
    return shared if shared * (len(ids) - 1) >= LEAST_SPARED * sum(map(len, ids)) else 0


def place_sequences(lengths: Sequence[int], shared: int) -> Sequences:
    """Return where sequences of these lengths stand if they share so many first tokens."""
    bounds = [0, *itertools.accumulate(lengths)]
    common = torch.arange(shared)
    own = [torch.arange(start + shared, end) for start, end in itertools.pairwise(bounds)]
    spared = [place - i * shared for i, place in enumerate(own)]  # i times less than in full
    return Sequences(
        tuple(lengths),
        torch.tensor(bounds, dtype=torch.int32),
        row_places=torch.cat([part for each in spared for part in (common, each)]),
        own_places=torch.cat([common, *own]),
        shared_places=torch.cat([common + start for start in bounds[:-1]]),
    )
