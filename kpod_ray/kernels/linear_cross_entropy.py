"""The output head's cross entropy with a scale for each token, computed chunk by chunk.

Computes: of hidden states h [N, d], an output head W [V, d] and labels y [N] each token's loss l_i
= -log softmax(W h_i)[y_i] in nats; the sum of s_i l_i, where the scale s_i may depend on l_i; and
the gradients of the sum.

Why: a trainer usually makes the logits of all tokens, [N, V], their log-softmax and their gradient.
Here the logits of one chunk of tokens exist at a time, and the forward pass turns them into their
gradient in place: nothing of size [N, V] is kept. The fused losses of torch and Liger take no scale
that depends on the loss, and where each token's loss is wanted they compute the logits twice.

Measured (docs/results.md, ``python -m benchmarks.loss``): on 2 cores of an AMD EPYC in fp32, 8,192
tokens and a head of 49,152 rows took 273 MiB above the inputs, full logits 4,618 MiB, in .91 of
their time. On an NVIDIA H200 in bf16, 8,192 tokens and 151,936 rows took 956 MiB to 14,504 MiB, in
.65 of the time.

What would break it: a head with a bias, scaled or soft-capped logits (`models.student.load_student`
refuses such models); gradients through the losses of single tokens, which are marked as not
differentiable; a second backward pass or a second derivative, which torch refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kpod_ray.kernels.linear_cross_entropy_cpu import HeadOnCpu

TokenScale = Callable[[Tensor, Tensor], Tensor]
"""From losses and weights of n tokens to the scales of their losses and gradients; all are [n]."""


def linear_cross_entropy(
    hidden: Tensor, head: Tensor, labels: Tensor, token_weights: Tensor, scale: TokenScale
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scaled sum of token losses, each token's loss, and whether its label is the likeliest.

    Args:
        hidden: [N, d].
        head: [V, d].
        labels: [N].
        token_weights: [N], float32, handed to ``scale``.
        scale: no gradient flows through it.

    Returns:
        The sum, a scalar with gradients to ``hidden`` and ``head``; without gradients the losses in
        nats, [N], and whether each label is the likeliest, [N]. Sum and losses are float32.
    """
    if not torch.is_grad_enabled():  # else the head's gradient would be computed in vain
        hidden, head = hidden.detach(), head.detach()
    total, nll, is_top = _ScaledNll.apply(hidden, head, labels, token_weights, scale)
    return total, nll, is_top


class _ScaledNll(torch.autograd.Function):
    """Computes the gradients while a chunk's logits exist."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        labels: Tensor,
        token_weights: Tensor,
        scale: TokenScale,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scaled sum, every token's loss [N] and whether it is the likeliest [N]."""
        needs_hidden, needs_head = ctx.needs_input_grad[:2]
        nll = torch.empty(labels.shape, dtype=torch.float32, device=hidden.device)
        token_scales = torch.empty_like(nll)
        is_top = torch.empty_like(nll, dtype=torch.bool)
        hidden_grad = torch.empty_like(hidden) if needs_hidden else None
        head_grad = torch.zeros_like(head) if needs_head else None
        on_device = _on_device(head, hidden.dtype)
        for start in range(0, len(labels), on_device.chunk_tokens):
            chunk = slice(start, start + on_device.chunk_tokens)
            nll[chunk], is_top[chunk] = on_device.losses(hidden[chunk], labels[chunk])
            token_scales[chunk] = scale(nll[chunk], token_weights[chunk])
            if not needs_hidden and not needs_head:
                continue
            on_device.differentiate(labels[chunk], token_scales[chunk])
            if hidden_grad is not None:
                hidden_grad[chunk] = on_device.hidden_gradient()
            if head_grad is not None:
                on_device.add_head_gradient(head_grad, hidden[chunk])
        ctx.save_for_backward(hidden_grad, head_grad)
        ctx.mark_non_differentiable(nll, is_top)
        return (nll * token_scales).sum(), nll, is_top

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the kept gradients of the hidden states and the head by that of the sum.

        In place, so that torch refuses a second backward pass.
        """
        hidden_grad, head_grad = ctx.saved_tensors
        outer = grads[0]
        return (
            None if hidden_grad is None else hidden_grad.mul_(outer.to(hidden_grad.dtype)),
            None if head_grad is None else head_grad.mul_(outer.to(head_grad.dtype)),
            None,
            None,
            None,
        )


def _on_device(head: Tensor, dtype: torch.dtype) -> Any:
    """Return the head as its device computes with it: `HeadOnCpu` or `HeadOnGpu`."""
    if head.is_cuda:
        # This module needs Triton.
        from kpod_ray.kernels.linear_cross_entropy_triton import HeadOnGpu

        return HeadOnGpu(head, dtype)
    return HeadOnCpu(head, dtype)
