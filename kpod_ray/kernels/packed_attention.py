"""Causal attention within each sequence of a packed row whose sequences share a prefix.

Computes: softmax(scale Q K^T) V for every sequence of a row. Every token attends to itself and to the
preceding tokens of its own sequence, including the shared prefix, which the row holds once.
`attend_on_gpu` calls torch's kernel for sequences of various lengths (``varlen_attn``); `attend_on_cpu`
calls torch's flash attention for CPUs once for each sequence.

Why: the cost of masked attention over the whole row grows with the square of the row's length. With
torch's ``scaled_dot_product_attention`` for each sequence, autograd saves copies of the queries, keys
and values of every sequence. `attend_on_cpu` saves only the row's queries, keys, values and output.

Measured: ``python -m benchmarks.kernels``, AMD EPYC, one thread beside other work, fp32: four layers,
eight sequences of 128 tokens with a prefix of 24, took 50.5 MiB, torch's operation for each sequence
55.4 MiB. CPU times (112 and 108 ms, median of 3) differ by less than between two rounds. On a GPU the
kernel was not measured alone.

What would break it: attention with position bias, dropout or a window shorter than the sequences
(`models.packing` then uses torch's attention or padding); a version of torch that renames the private
CPU operations ``aten._scaled_dot_product_flash_attention_for_cpu`` and its backward; in-place changes of
queries, keys, values or the output after the call, since the backward pass needs these tensors.
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
    """Compute causal attention within each sequence of a packed row on a CPU, in float32.

    Neither the states nor the output may be changed in place before the backward pass.

    Args:
        states: queries [1, L, H, d], keys and values [1, L, G, d] on the CPU, of one floating-point
            type; G divides H.
        sequences: layout of the row of L tokens, on the CPU.
        scale: factor of the attention scores; None is d ** -0.5.

    Returns:
        The output, [1, L, H, d], in the type of the states, without second derivatives.
    """
    output: Tensor = _Attention.apply(*states, sequences, scale)
    return output


def attend_on_gpu(
    states: tuple[Tensor, Tensor, Tensor], sequences: PackedLayout, scale: float | None
) -> Tensor:
    """Compute causal attention within each sequence of a packed row on a GPU.

    Neither the states nor the output may be changed in place before the backward pass.

    Args:
        states: queries [1, L, H, d], keys and values [1, L, G, d] on a GPU, bf16 or fp16; G divides H,
            and d is a multiple of 8 up to 256.
        sequences: layout of the row of L tokens, on the same GPU.
        scale: factor of the attention scores; None is d ** -0.5.

    Returns:
        The output, [1, L, H, d], in the type of the states.
    """
    query, key, value = (repeat_prefix(each, sequences)[0] for each in states)
    bounds = sequences.bounds
    longest = max(sequences.lengths)
    # An unlimited window to the left and none to the right make the attention causal.
    kind: dict[str, Any] = {"window_size": (-1, 0), "scale": scale, "enable_gqa": True}
    output = varlen_attn(query, key, value, bounds, bounds, longest, longest, **kind)
    return merge_prefix(cast(Tensor, output)[None], sequences)


def repeat_prefix(states: Tensor, sequences: PackedLayout) -> Tensor:
    """Repeat the shared prefix of a packed row for every sequence; differentiable.

    The gradients of the copies are added. Without a shared prefix the result shares the memory of
    ``states``.

    Args:
        states: queries, keys or values of the row, [1, L, H, d].
        sequences: layout of the row, on the same device.

    Returns:
        The states of the M tokens of all sequences, one sequence after the other, [1, M, H, d].
    """
    whole: Tensor = _RepeatPrefix.apply(states, sequences)
    return whole


def merge_prefix(output: Tensor, sequences: PackedLayout) -> Tensor:
    """Undo `repeat_prefix`: keep only the first sequence's copy of the shared prefix; differentiable.

    The other copies, which are equal because attention is causal, get a gradient of 0. Without a shared
    prefix the result shares the memory of ``output``.

    Args:
        output: attention output of all sequences, [1, M, H, d].
        sequences: layout of the row, on the same device.

    Returns:
        The output of the row, [1, L, H, d].
    """
    row: Tensor = _MergePrefix.apply(output, sequences)
    return row


class _Attention(torch.autograd.Function):
    """Calls torch's flash attention for CPUs once for each sequence.

    The kernel supports fewer key heads than query heads.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, sequences: PackedLayout, scale: Any
    ) -> Tensor:
        """Return the attention output, [1, L, H, d]."""
        states = [_row_to_whole(each, sequences) for each in (query, key, value)]
        output = torch.empty_like(states[0])
        log_norms = []
        for span in _spans(sequences):
            output_part, log_norm = _forward(*_heads(states, span), is_causal=True, scale=scale)
            output[:, span] = output_part.transpose(1, 2)
            log_norms.append(log_norm)
        output = _whole_to_row(output, sequences)
        # The tensors of the row are saved, without the sequences' copies of the prefix. The backward
        # pass repeats the prefix again.
        ctx.save_for_backward(query, key, value, output, *log_norms)
        ctx.sequences = sequences
        ctx.scale = scale
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients with respect to queries, keys and values."""
        query, key, value, output, *log_norms = ctx.saved_tensors
        whole = [_row_to_whole(each, ctx.sequences) for each in (query, key, value, output)]
        outer = _whole_grad(grads[0], ctx.sequences)
        state_grads = [torch.empty_like(each) for each in whole[:3]]
        for span, log_norm in zip(_spans(ctx.sequences), log_norms, strict=True):
            *parts, result, grad = _heads([*whole, outer], span)
            part_grads = _backward(grad, *parts, result, log_norm, 0.0, True, scale=ctx.scale)
            for state_grad, part in zip(state_grads, part_grads, strict=True):
                state_grad[:, span] = part.transpose(1, 2)
        return *(_row_grad(each, ctx.sequences) for each in state_grads), None, None


def _heads(states: Sequence[Tensor], span: slice) -> list[Tensor]:
    """Return the part of each tensor [1, M, H, d] that belongs to a sequence, [1, H, length, d]."""
    # float32, since torch's kernel for CPUs is far slower for bf16.
    return [each[:, span].transpose(1, 2).float() for each in states]


def _spans(sequences: PackedLayout) -> Iterator[slice]:
    """Return the span of each sequence among the M tokens of all sequences."""
    bounds = itertools.accumulate(sequences.lengths, initial=0)
    return itertools.starmap(slice, itertools.pairwise(bounds))


class _RepeatPrefix(torch.autograd.Function):
    """`_row_to_whole` with a gradient."""

    @staticmethod
    def forward(ctx: Any, row: Tensor, sequences: PackedLayout) -> Tensor:
        """Return [1, M, H, d] from ``row``, [1, L, H, d]."""
        ctx.sequences = sequences
        return _row_to_whole(row, sequences)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of ``row``."""
        return _row_grad(grads[0], ctx.sequences), None


class _MergePrefix(torch.autograd.Function):
    """`_whole_to_row` with a gradient."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, sequences: PackedLayout) -> Tensor:
        """Return [1, L, H, d] from ``output``, [1, M, H, d]."""
        ctx.sequences = sequences
        return _whole_to_row(output, sequences)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of ``output``."""
        return _whole_grad(grads[0], ctx.sequences), None


def _row_to_whole(row: Tensor, sequences: PackedLayout) -> Tensor:
    """Repeat the shared prefix for every sequence: return [1, M, H, d] from [1, L, H, d]."""
    if not len(sequences.shared_prefix_places):
        return row
    return row.index_select(1, sequences.row_places)


def _row_grad(grad: Tensor, sequences: PackedLayout) -> Tensor:
    """Return the gradient with respect to the input of `_row_to_whole`, [1, L, H, d].

    In the shared prefix the gradients of all sequences are added.
    """
    # ``index_add_`` would be shorter, but adds in a varying order on a GPU; ``sum`` is deterministic.
    if not len(sequences.shared_prefix_places):
        return grad
    total = grad.index_select(1, sequences.own_places)
    prefixes = grad[0].index_select(0, sequences.shared_prefix_places)
    by_sequence = prefixes.unflatten(0, (len(sequences.lengths), -1))
    torch.sum(by_sequence, 0, out=total[0, : by_sequence.shape[1]])
    return total


def _whole_to_row(whole: Tensor, sequences: PackedLayout) -> Tensor:
    """Keep the first sequence's copy of the shared prefix: return [1, L, H, d] from [1, M, H, d]."""
    if not len(sequences.shared_prefix_places):
        return whole
    return whole.index_select(1, sequences.own_places)


def _whole_grad(grad: Tensor, sequences: PackedLayout) -> Tensor:
    """Return the gradient with respect to the input of `_whole_to_row`, [1, M, H, d].

    The gradient is 0 at the copies of the shared prefix that `_whole_to_row` drops.
    """
    if not len(sequences.shared_prefix_places):
        return grad
    total = grad.new_zeros(1, len(sequences.row_places), *grad.shape[2:])
    return total.index_copy_(1, sequences.own_places, grad)
