"""Weighted token losses (Eq. 14, 15; DFT).

Losses are sums over tokens, in nats: divided once by a denominator of the whole train step, they make
micro-batches, accumulation and several workers equal to one large batch. Logits exist only for one
chunk of tokens at a time; tokens outside the loss never reach the output head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kpod_ray.kernels.linear_cross_entropy_cpu import HeadOnCpu

TokenScale = Callable[[Tensor, Tensor], Tensor]
"""From the losses and the weights of some tokens to what their losses and gradients are scaled by."""


class _ScaledNll(torch.autograd.Function):
    """Computes the gradients while a chunk's logits exist, so that they are never kept."""

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
        token_scales, is_top = torch.empty_like(nll), torch.empty_like(nll, dtype=torch.bool)
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
        from kpod_ray.kernels.linear_cross_entropy_triton import (
            HeadOnGpu,  # its kernels need Triton
        )

        return HeadOnGpu(head, dtype)
    return HeadOnCpu(head, dtype)
