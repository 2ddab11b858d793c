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
        states: queries, keys or values of the row, [1, H, L, d].
        sequences: where each stands.

    Returns:
        [1, H, M, d], in memory one token after the other.
    """
    if not len(sequences.shared_places):
        return states
    whole: Tensor = _Separated.apply(states.transpose(1, 2), sequences)
    return whole.transpose(1, 2)


def unite(output: Tensor, sequences: Sequences) -> Tensor:
    """Keep the tokens that all sequences begin with once: undo `separate`.

    Args:
        output: of all sequences, [1, M, H, d].
        sequences: where each stands.

    Returns:
        [1, L, H, d].
    """
    if not len(sequences.shared_places):
        return output
    row: Tensor = _United.apply(output, sequences)
    return row


class _Separated(torch.autograd.Function):
    """In the same order on every run: no gradients are added up by chance."""

    @staticmethod
    def forward(ctx: Any, row: Tensor, sequences: Sequences) -> Tensor:
        """Return the states of all sequences, [1, M, H, d], of those in the row, [1, L, H, d]."""
        ctx.sequences = sequences
        return row.index_select(1, sequences.row_places)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the row: that of a shared token is the sum over the sequences."""
        sequences, (grad,) = ctx.sequences, grads
        row_grad = grad.index_select(1, sequences.own_places)
        shared = grad[0].index_select(0, sequences.shared_places)
        by_sequence = shared.unflatten(0, (len(sequences.lengths), -1))
        torch.sum(by_sequence, 0, out=row_grad[0, : by_sequence.shape[1]])
        return row_grad, None


class _United(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: Tensor, sequences: Sequences) -> Tensor:
        """Return the output of the row's tokens, [1, L, H, d], of all sequences', [1, M, H, d]."""
        ctx.sequences, ctx.size = sequences, output.shape
        return output.index_select(1, sequences.own_places)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of all outputs: 0 where a shared token comes again."""
        whole_grad = grads[0].new_zeros(ctx.size)
        return whole_grad.index_copy_(1, ctx.sequences.own_places, grads[0]), None
