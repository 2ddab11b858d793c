"""A frozen linear layer and its low-rank adapter as one operation.

peft's own layer makes two more tensors of the output's size on the way there and two on the way back;
products that add to what is there need none of them.
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
