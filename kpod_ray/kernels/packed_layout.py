"""Where the examples of a packed row stand: one after the other, their shared prefix once.

Computes: index tensors between two orders of tokens, the row's and that of all sequences one after
the other.

Why: a packed row has no padding, and the tokens that all prompts begin with, such as a chat
template's first message, are computed once a row instead of once an example. On a GPU the indices
save a loop over the sequences.

Measured (docs/results.md, ``python -m benchmarks.training --data DIR --precision fp32``, 2 cores of
an AMD EPYC): prompts that share 24 of 129 tokens on average train at 223 tokens/s with 17 % of the
tokens not computed; ``--template plain``, where nothing is shared, at 191. With padding 23 % of the
positions are lost, grouped by length 2 %.

What would break it: layers other than attention in which a token sees its neighbours, such as
convolutions (`models.packing.use_packing` finds them out); positions counted along the row.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class PackedLayout:
    """Where S sequences, of M tokens together, stand in a row of L with one shared prefix.

    The shared prefix is the first P tokens of the row and of every sequence: M = L + (S - 1) P.
    """

    lengths: tuple[int, ...]
    """Tokens of each sequence; they add up to M."""
    bounds: Tensor
    """[S + 1], int32, where each sequence begins among the M tokens, and M."""
    row_places: Tensor
    """[M], the place in the row of each sequence's tokens, one sequence after the other."""
    own_places: Tensor
    """[L], the place of the row's tokens among those M; for the shared prefix, in the first sequence."""
    shared_prefix_places: Tensor
    """[S P], the places of the shared prefix among those M, one sequence after the other."""

    def to(self, device: torch.device) -> Self:
        """Return the same on another device."""
        names = ("bounds", "row_places", "own_places", "shared_prefix_places")
        return dataclasses.replace(self, **{n: getattr(self, n).to(device) for n in names})


def place_sequences(lengths: Sequence[int], num_shared_prefix_tokens: int) -> PackedLayout:
    """Return where sequences stand in a row.

    Args:
        lengths: tokens of each sequence, the shared prefix counted.
        num_shared_prefix_tokens: first tokens that all sequences have in common.
    """
    bounds = [0, *itertools.accumulate(lengths)]
    num_shared = num_shared_prefix_tokens
    prefix = torch.arange(num_shared)
    own = [torch.arange(start + num_shared, end) for start, end in itertools.pairwise(bounds)]
    # In the row i prefixes fewer than among the tokens of all stand before sequence i.
    in_row = [places - i * num_shared for i, places in enumerate(own)]
    return PackedLayout(
        tuple(lengths),
        torch.tensor(bounds, dtype=torch.int32),
        row_places=torch.cat([part for each in in_row for part in (prefix, each)]),
        own_places=torch.cat([prefix, *own]),
        shared_prefix_places=torch.cat([prefix + start for start in bounds[:-1]]),
    )
