"""Examples one after the other in a single row; what all of them begin with is there once."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class PackedLayout:
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
    shared_prefix_places: Tensor
    """[S P], where the shared tokens stand among those M, one sequence after the other."""

    def to(self, device: torch.device) -> Self:
        """Return the same on another device."""
        names = ("bounds", "row_places", "own_places", "shared_prefix_places")
        return dataclasses.replace(self, **{n: getattr(self, n).to(device) for n in names})


def place_sequences(lengths: Sequence[int], shared: int) -> PackedLayout:
    """Return where sequences of these lengths stand if they share so many first tokens."""
    bounds = [0, *itertools.accumulate(lengths)]
    common = torch.arange(shared)
    own = [torch.arange(start + shared, end) for start, end in itertools.pairwise(bounds)]
    spared = [place - i * shared for i, place in enumerate(own)]  # i times less than in full
    return PackedLayout(
        tuple(lengths),
        torch.tensor(bounds, dtype=torch.int32),
        row_places=torch.cat([part for each in spared for part in (common, each)]),
        own_places=torch.cat([common, *own]),
        shared_prefix_places=torch.cat([common + start for start in bounds[:-1]]),
    )
