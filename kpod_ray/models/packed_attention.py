"""Causal attention of each of several sequences in one row: by one kernel on a GPU, in turn on a CPU."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.attention.varlen import varlen_attn

from kpod_ray.data.packed_batches import Sequences

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def attend_on_gpu(
    states: Sequence[Tensor], bounds: Tensor, longest: int, scale: float | None
) -> Tensor:
    """Let every token see those before it in its own sequence.

    Args:
        states: queries, keys and values on a GPU, [1, H, L, d], [1, G, L, d] and [1, G, L, d], bf16 or
            fp16.
        bounds: [S + 1], int32, where each sequence begins, and L.
        longest: tokens of the longest sequence.
        scale: of the scores; None is d ** -0.5.

    Returns:
        [1, L, H, d].
    """
    query, key, value = (each[0].transpose(0, 1) for each in states)
    kind: dict[str, Any] = {"window_size": (-1, 0), "scale": scale, "enable_gqa": True}
    output = varlen_attn(query, key, value, bounds, bounds, longest, longest, **kind)
    return cast(Tensor, output)[None]


def attend_on_cpu(states: Sequence[Tensor], lengths: Sequence[int], scale: float | None) -> Tensor:
    """Let every token see those before it in its own sequence; the output is kept once.

    Args:
        states: queries, keys and values, [1, H, L, d], [1, G, L, d] and [1, G, L, d], float32.
        lengths: tokens of each sequence; they add up to L.
        scale: of the scores; None is d ** -0.5.

    Returns:
        [1, L, H, d].
    """
    output: Tensor = _Attention.apply(*states, lengths, scale)
    return output


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


class _Attention(torch.autograd.Function):
    """torch's kernel for a CPU, sequence by sequence; it takes fewer heads of keys than of queries."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], scale: Any
    ) -> Tensor:
        """Return the output, [1, L, H, d]."""
        _, num_heads, num_tokens, width = query.shape
        output, log_norms = query.new_empty(1, num_tokens, num_heads, width), []
        for place in _places(lengths):
            parts = [states[:, :, place] for states in (query, key, value)]
            output_part, log_norm = _forward(*parts, is_causal=True, scale=scale)
            output[:, place] = output_part.transpose(1, 2)
            log_norms.append(log_norm)
        ctx.save_for_backward(query, key, value, output, *log_norms)
        ctx.lengths, ctx.scale = lengths, scale
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the queries, keys and values."""
        query, key, value, output, *log_norms = ctx.saved_tensors
        states = query, key, value
        state_grads = [torch.empty_like(each) for each in states]
        for place, log_norm in zip(_places(ctx.lengths), log_norms, strict=True):
            grad, result = (each[:, place].transpose(1, 2) for each in (grads[0], output))
            parts = [each[:, :, place] for each in states]
            found = _backward(grad, *parts, result, log_norm, 0.0, True, scale=ctx.scale)
            for state_grad, part in zip(state_grads, found, strict=True):
                state_grad[:, :, place] = part
        return *state_grads, None, None


def _places(lengths: Sequence[int]) -> Iterator[slice]:
    """Return where each sequence is in the row."""
    bounds = itertools.accumulate(lengths, initial=0)
    return itertools.starmap(slice, itertools.pairwise(bounds))
