"""Causal attention of each of several sequences in one packed row, their shared prefix there once.

Computes: softmax(scale Q K^T) V for every sequence of a row: every token sees the tokens before it
in its own sequence, the shared prefix included. `attend_on_gpu` calls torch's kernel for sequences
of various lengths (``varlen_attn``); `attend_on_cpu` calls torch's flash attention for the CPU,
sequence by sequence.

Why: attention of the whole row with a mask costs the square of the row's length, and torch's
``scaled_dot_product_attention`` of each sequence makes autograd keep copies of the queries, keys
and values of every sequence. On a CPU `attend_on_cpu` keeps what the row has, once.

Measured: ``python -m benchmarks.kernels``, AMD EPYC, one thread beside other work, fp32: four
layers, eight sequences of 128 tokens with a prefix of 24, took 50.5 MiB, torch's operation for each
sequence 55.4 MiB in the same CPU time (112 and 108 ms). On an NVIDIA H200 one kernel for all
sequences is part of the 1.4 to 3.0 times TRL's speed in docs/results.md (``python -m
benchmarks.training``); it was not measured alone.

What would break it: attention with a bias of positions, dropout or a window shorter than the
sequences (`models.packing` keeps to torch's attention or to padding there); a torch that renames
its private CPU operations, ``aten._scaled_dot_product_flash_attention_for_cpu`` and its backward;
in-place use of queries, keys, values or the output after the call, which are kept for the backward
pass.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.attention.varlen import varlen_attn

from kpod_ray.kernels.packed_layout import PackedLayout

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def attend_on_cpu(
    states: tuple[Tensor, Tensor, Tensor], sequences: PackedLayout, scale: float | None
) -> Tensor:
    """Let every token see those before it in its own sequence; the output is kept once.

    The attention is computed in float32, since torch's kernel is far slower for bf16.

    Args:
        states: queries, keys and values, [1, L, H, d], [1, L, G, d] and [1, L, G, d].
        sequences: where each stands in the row.
        scale: of the scores; None is d ** -0.5.

    Returns:
        [1, L, H, d].
    """
    output: Tensor = _Attention.apply(*states, sequences, scale)
    return output


def attend_on_gpu(
    states: tuple[Tensor, Tensor, Tensor], sequences: PackedLayout, scale: float | None
) -> Tensor:
    """Let every token see those before it in its own sequence.

    Args:
        states: queries, keys and values on a GPU, [1, L, H, d], [1, L, G, d] and [1, L, G, d], bf16 or
            fp16.
        sequences: where each stands in the row.
        scale: of the scores; None is d ** -0.5.

    Returns:
        [1, L, H, d].
    """
    query, key, value = (repeat_prefix(each, sequences)[0] for each in states)
    bounds, longest = sequences.bounds, max(sequences.lengths)
    kind: dict[str, Any] = {"window_size": (-1, 0), "scale": scale, "enable_gqa": True}
    output = varlen_attn(query, key, value, bounds, bounds, longest, longest, **kind)
    return merge_prefix(cast(Tensor, output)[None], sequences)


def repeat_prefix(states: Tensor, sequences: PackedLayout) -> Tensor:
    """Give every sequence the shared prefix; gradients flow back, and add up where it is repeated.

    Args:
        states: queries, keys or values of the row, [1, L, H, d].
        sequences: where each stands.

    Returns:
        [1, M, H, d].
    """
    whole: Tensor = _RepeatPrefix.apply(states, sequences)
    return whole


def merge_prefix(output: Tensor, sequences: PackedLayout) -> Tensor:
    """Keep the shared prefix of the first sequence alone: undo `repeat_prefix`; gradients flow back.

    Args:
        output: of all sequences, [1, M, H, d].
        sequences: where each stands.

    Returns:
        [1, L, H, d].
    """
    row: Tensor = _MergePrefix.apply(output, sequences)
    return row


class _Attention(torch.autograd.Function):
    """torch's kernel for a CPU, sequence by sequence; it takes fewer heads of keys than of queries."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, sequences: PackedLayout, scale: Any
    ) -> Tensor:
        """Return the output, [1, L, H, d]."""
        states = [_row_to_whole(each, sequences) for each in (query, key, value)]
        output, log_norms = torch.empty_like(states[0]), []
        for place in _places(sequences):
            output_part, log_norm = _forward(*_heads(states, place), is_causal=True, scale=scale)
            output[:, place] = output_part.transpose(1, 2)
            log_norms.append(log_norm)
        output = _whole_to_row(output, sequences)
        ctx.save_for_backward(query, key, value, output, *log_norms)
        ctx.sequences, ctx.scale = sequences, scale
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the queries, keys and values."""
        query, key, value, output, *log_norms = ctx.saved_tensors
        whole = [_row_to_whole(each, ctx.sequences) for each in (query, key, value, output)]
        outer = _whole_grad(grads[0], ctx.sequences)
        state_grads = [torch.empty_like(each) for each in whole[:3]]
        for place, log_norm in zip(_places(ctx.sequences), log_norms, strict=True):
            *parts, result, grad = _heads([*whole, outer], place)
            found = _backward(grad, *parts, result, log_norm, 0.0, True, scale=ctx.scale)
            for state_grad, part in zip(state_grads, found, strict=True):
                state_grad[:, place] = part.transpose(1, 2)
        return *(_row_grad(each, ctx.sequences) for each in state_grads), None, None


def _heads(states: Sequence[Tensor], place: slice) -> list[Tensor]:
    """Return what one sequence has of each of them, [1, H, length, d], float32."""
    return [each[:, place].transpose(1, 2).float() for each in states]


def _places(sequences: PackedLayout) -> Iterator[slice]:
    """Return where each sequence is among the tokens of all."""
    bounds = itertools.accumulate(sequences.lengths, initial=0)
    return itertools.starmap(slice, itertools.pairwise(bounds))


class _RepeatPrefix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, row: Tensor, sequences: PackedLayout) -> Tensor:
        """Return what all sequences have, [1, M, H, d], of what the row has, [1, L, H, d]."""
        ctx.sequences = sequences
        return _row_to_whole(row, sequences)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the row."""
        return _row_grad(grads[0], ctx.sequences), None


class _MergePrefix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: Tensor, sequences: PackedLayout) -> Tensor:
        """Return the output of the row's tokens, [1, L, H, d], of all sequences', [1, M, H, d]."""
        ctx.sequences = sequences
        return _whole_to_row(output, sequences)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of all outputs."""
        return _whole_grad(grads[0], ctx.sequences), None


def _row_to_whole(row: Tensor, sequences: PackedLayout) -> Tensor:
    """Return [1, M, H, d] of [1, L, H, d]: the shared prefix again for every sequence."""
    if not len(sequences.shared_prefix_places):
        return row
    return row.index_select(1, sequences.row_places)


def _row_grad(grad: Tensor, sequences: PackedLayout) -> Tensor:
    """Return the gradient of what went into `_row_to_whole`: sums over the sequences in the prefix.

    They are added up in the same order on every run.
    """
    if not len(sequences.shared_prefix_places):
        return grad
    total = grad.index_select(1, sequences.own_places)
    prefixes = grad[0].index_select(0, sequences.shared_prefix_places)
    by_sequence = prefixes.unflatten(0, (len(sequences.lengths), -1))
    torch.sum(by_sequence, 0, out=total[0, : by_sequence.shape[1]])
    return total


def _whole_to_row(whole: Tensor, sequences: PackedLayout) -> Tensor:
    """Return [1, L, H, d] of [1, M, H, d]: the shared prefix as the first sequence has it."""
    if not len(sequences.shared_prefix_places):
        return whole
    return whole.index_select(1, sequences.own_places)


def _whole_grad(grad: Tensor, sequences: PackedLayout) -> Tensor:
    """Return the gradient of what went into `_whole_to_row`: 0 where the prefix is repeated."""
    if not len(sequences.shared_prefix_places):
        return grad
    total = grad.new_zeros(1, len(sequences.row_places), *grad.shape[2:])
    return total.index_copy_(1, sequences.own_places, grad)
