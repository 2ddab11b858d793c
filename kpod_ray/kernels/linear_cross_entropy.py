"""Cross entropy of the output head's logits with a scale for each token, computed chunk by chunk.

Computes: from hidden states h [N, d], an output head W [V, d] and labels y [N], the loss of each token,
l_i = -log softmax(W h_i)[y_i], in nats; the sum of s_i l_i, where the scale s_i may depend on l_i; and
the gradients of this sum.

Why: a trainer usually stores the logits of all tokens, [N, V], their log-softmax and their gradient.
This module stores the logits of one chunk of tokens at a time, and the forward pass already turns them
into their gradient, in place. The fused losses of torch and Liger don't support a scale that depends on
the loss, and compute the logits twice if the loss of each token is needed.

Measured (docs/results.md, ``python -m benchmarks.loss``): on 2 cores of an AMD EPYC in fp32, 8,192
tokens and a head of 49,152 rows took 273 MiB above the inputs, full logits 4,618 MiB, in .91 of their
time. On an NVIDIA H200 in bf16, 8,192 tokens and 151,936 rows took 956 MiB to 14,504 MiB, in .65 of the
time.

What would break it: an output head with a bias, and scaled or soft-capped logits
(`models.student.load_student` refuses such models); gradients through the losses of single tokens, which
are marked as not differentiable; a second backward pass or a second derivative, for which torch raises
an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kpod_ray.kernels.linear_cross_entropy_cpu import HeadOnCpu

TokenScale = Callable[[Tensor, Tensor], Tensor]
"""Function from the losses [n], in nats, and the weights [n] of n tokens to the scales [n] of the
losses; all are float32. The function must not change its arguments."""


def linear_cross_entropy(
    hidden: Tensor, head: Tensor, labels: Tensor, token_weights: Tensor, scale: TokenScale
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the scaled sum of the token losses, and the loss of each token.

    Call the function outside autocast. The gradients are computed in the call, not in the backward pass,
    unless gradients are disabled.

    Args:
        hidden: [N, d], hidden states, in the type of the matrix products; N may be 0. All tensors are on
            one device, a CPU or a CUDA GPU.
        head: [V, d], output head, of any floating-point type. A head that needs a gradient must be
            float32 or, on a GPU, of the type of ``hidden``.
        labels: [N], int64, contiguous, token ids from 0 to V - 1, which aren't checked on a GPU; no id
            is ignored.
        token_weights: [N], float32, passed to ``scale``.
        scale: function that returns the scale of each token's loss; called with the losses and weights
            of one chunk of tokens at a time. No gradient flows through the scale.

    Returns:
        The scaled sum, a float32 scalar with gradients to ``hidden`` and ``head``; and without gradients
        the token losses in nats, [N], float32, and whether each label has the highest logit (or shares
        the highest with others), [N] bool. A second backward pass raises a RuntimeError.

    Raises:
        RuntimeError: On a CPU, a label isn't from 0 to V - 1.
    """
    # ``needs_input_grad`` of an autograd function is True for parameters even under ``no_grad``.
    # Detached tensors spare the forward pass the computation of gradients that nobody asks for.
    if not torch.is_grad_enabled():
        hidden = hidden.detach()
        head = head.detach()
    total, nll, is_top = _ScaledNll.apply(hidden, head, labels, token_weights, scale)
    return total, nll, is_top


class _ScaledNll(torch.autograd.Function):
    """Computes the gradients in the forward pass, while the logits of a chunk are in memory."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        labels: Tensor,
        token_weights: Tensor,
        scale: TokenScale,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three results of `linear_cross_entropy`; save the gradients of the scaled sum."""
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
            # The scale is known only now, after the losses; the gradients below include the scale.
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
        """Return the saved gradients of hidden states and head, times the gradient of the sum."""
        hidden_grad, head_grad = ctx.saved_tensors
        outer = grads[0]
        # The product is in place to save memory. The version counter of the saved tensors then makes
        # torch raise an error in a second backward pass, which would scale the gradients twice.
        return (
            None if hidden_grad is None else hidden_grad.mul_(outer.to(hidden_grad.dtype)),
            None if head_grad is None else head_grad.mul_(outer.to(head_grad.dtype)),
            None,
            None,
            None,
        )


def _on_device(head: Tensor, dtype: torch.dtype) -> Any:
    """Return the implementation for the head's device, a `HeadOnCpu` or a `HeadOnGpu`."""
    if head.is_cuda:
        # The module imports Triton, which machines without a GPU don't have.
        from kpod_ray.kernels.linear_cross_entropy_triton import HeadOnGpu

        return HeadOnGpu(head, dtype)
    return HeadOnCpu(head, dtype)
