"""Causal attention of each of several sequences in one row: by one kernel on a GPU, in turn on a CPU."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.attention.varlen import varlen_attn

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
