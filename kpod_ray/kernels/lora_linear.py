"""A frozen linear layer and its low-rank adapter as one operation.

Computes: y = x W^T + b + s x A^T B^T of x [N, in], a frozen W [out, in], A [r, in] and B [out, r],
and the gradients of x, A and B.

Why: peft's own layer makes the layer's output, the adapter's output, its scaled copy and their sum:
two more tensors of the output's size in the forward pass and two in the backward pass. Products
that add to what is there (``addmm_``) need none of them.

Measured: ``python -m benchmarks.kernels``, AMD EPYC, one thread beside other work, fp32: eight such
layers, 576 to 1,536 wide, rank 64, 1,024 tokens, forward and backward pass, took 463 ms of CPU time
and 65 MiB, peft's own 600 ms and 80 MiB.

What would break it: several active adapters, dropout, DoRA or another variant of an adapter, which
are ignored (`training.build.add_adapters` makes none); a peft that renames ``lora_A``, ``lora_B``,
``scaling`` or ``active_adapters``; forward hooks on the base layer or on A and B, whose weights are
read past them.
"""

from __future__ import annotations

from typing import Any

import peft.tuners.lora
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class AdaptedLinear(peft.tuners.lora.Linear):
    """peft's layer with one adapter, without dropout: y = W x + b + s B A x."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the layer's output, [..., out], of its input, [..., in]."""
        layer = self.get_base_layer()
        if self.merged:
            return layer(x)
        (name,) = self.active_adapters
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        tensors = [t.to(dtype) for t in (x.reshape(-1, x.shape[-1]), layer.weight, down, up)]
        flat = _AdaptedProduct.apply(*tensors, self.scaling[name])
        if layer.bias is not None:
            flat = flat + layer.bias.to(dtype)
        return flat.view(*x.shape[:-1], flat.shape[-1])


class _AdaptedProduct(torch.autograd.Function):
    """Gives no gradient to the frozen weight."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        """Return x W^T + s x A^T B^T, [N, out], of x [N, in], W [out, in], A [r, in] and B [out, r]."""
        inner = x @ down.T
        ctx.save_for_backward(x, weight, down, up, inner)
        ctx.scale = scale
        return (x @ weight.T).addmm_(inner, up.T, alpha=scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, A and B."""
        x, weight, down, up, inner = ctx.saved_tensors
        (grad,) = grads
        inner_grad = (grad @ up).mul_(ctx.scale)
        x_grad = (grad @ weight).addmm_(inner_grad, down) if ctx.needs_input_grad[0] else None
        down_grad = (x.T @ inner_grad).T  # faster than the other way round
        return x_grad, None, down_grad, (grad.T @ inner).mul_(ctx.scale), None
