"""Tokens that several sequences begin with: once in a row of all, but in each where attention looks.

Everything in a causal language model but attention looks at one token at a time, and what comes of a
sequence's first tokens doesn't depend on what follows: it is the same in all that begin with them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kpod_ray.data.packed_batches import Sequences


def separate(states: Tensor, sequences: Sequences) -> Tensor:
    """Give every sequence the tokens that all of them begin with.

    Args:
        states: queries, keys or values of the row, [1, L, H, d].
        sequences: where each stands.

    Returns:
        [1, M, H, d].
    """
    whole: Tensor = _Separated.apply(states, sequences)
    return whole


def unite(output: Tensor, sequences: Sequences) -> Tensor:
    """Keep the tokens that all sequences begin with once: undo `separate`.

    Args:
        output: of all sequences, [1, M, H, d].
        sequences: where each stands.

    Returns:
        [1, L, H, d].
    """
    row: Tensor = _United.apply(output, sequences)
    return row


class _Separated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, row: Tensor, sequences: Sequences) -> Tensor:
        """Return what all sequences have, [1, M, H, d], of what the row has, [1, L, H, d]."""
        ctx.sequences = sequences
        return row_to_whole(row, sequences)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the row."""
        return row_grad(grads[0], ctx.sequences), None


class _United(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: Tensor, sequences: Sequences) -> Tensor:
        """Return the output of the row's tokens, [1, L, H, d], of all sequences', [1, M, H, d]."""
        ctx.sequences = sequences
        return whole_to_row(output, sequences)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of all outputs."""
        return whole_grad(grads[0], ctx.sequences), None


def row_to_whole(row: Tensor, sequences: Sequences) -> Tensor:
    """Return [1, M, H, d] of [1, L, H, d]: shared tokens again for every sequence."""
    if not len(sequences.shared_places):
        return row
    return row.index_select(1, sequences.row_places)


def row_grad(grad: Tensor, sequences: Sequences) -> Tensor:
    """Return the gradient of what went into `row_to_whole`: sums where tokens are shared.

    They are added up in the same order on every run.
    """
    if not len(sequences.shared_places):
        return grad
    total = grad.index_select(1, sequences.own_places)
    shared = grad[0].index_select(0, sequences.shared_places)
    by_sequence = shared.unflatten(0, (len(sequences.lengths), -1))
    torch.sum(by_sequence, 0, out=total[0, : by_sequence.shape[1]])
    return total


def whole_to_row(whole: Tensor, sequences: Sequences) -> Tensor:
    """Return [1, L, H, d] of [1, M, H, d]: shared tokens as the first sequence has them."""
    if not len(sequences.shared_places):
        return whole
    return whole.index_select(1, sequences.own_places)


def whole_grad(grad: Tensor, sequences: Sequences) -> Tensor:
    """Return the gradient of what went into `whole_to_row`: 0 where a shared token comes again."""
    if not len(sequences.shared_places):
        return grad
    total = grad.new_zeros(1, len(sequences.row_places), *grad.shape[2:])
    return total.index_copy_(1, sequences.own_places, grad)
