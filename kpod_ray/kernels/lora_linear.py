"""A frozen linear layer and its low-rank adapter (LoRA) as one operation.

Computes: y = x W^T + b + s x A^T B^T for inputs x [N, in], a frozen weight W [out, in], a bias b [out]
and an adapter of A [r, in], B [out, r] and scale s; and the gradients with respect to x, A and B.

Why: peft's own layer allocates the output of the linear layer, the output of the adapter, a scaled copy
of that and the sum: two more tensors of the output's size in the forward pass, and two more in the
backward pass. Products that are added in place to an existing tensor (``addmm_``) need none of these.

Measured: ``python -m benchmarks.kernels``, AMD EPYC, one thread beside other work, fp32: eight such
layers, 576 to 1,536 wide, rank 64, 1,024 tokens, forward and backward pass, took 463 ms of CPU time
and 65 MiB, peft's own 600 ms and 80 MiB.

What would break it: several active adapters, dropout, DoRA or another variant of adapters, which the
layer doesn't implement (`training.build.add_adapters` uses none of these); a version of peft that
renames ``lora_A``, ``lora_B``, ``scaling`` or ``active_adapters``; forward hooks on the base layer or on
A and B, which aren't called, because the weights are used directly.
"""

from __future__ import annotations

from typing import Any

import peft.tuners.lora
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class AdaptedLinear(peft.tuners.lora.Linear):
    """A linear layer of peft with one adapter: y = W x + b + s B A x.

    The constructor is peft's. Dropout and variants such as DoRA are ignored, not refused.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the output [..., out] for the input [..., in], on the device of the parameters.

        The adapter is always applied, also if peft has disabled it (``disable_adapter``), unless peft's
        ``merge`` put it into the weight. The output has the type of autocast if autocast is on, else
        that of the input. The weight gets no gradient, and second derivatives aren't supported. A merged
        layer behaves like any linear layer.

        Args:
            x: [..., in].
            args: ignored.
            kwargs: ignored.

        Raises:
            ValueError: The layer isn't merged and hasn't exactly one active adapter.
            KeyError: The layer isn't merged and lacks the active adapter.
        """
        layer = self.get_base_layer()
        if self.merged:
            return layer(x)
        (name,) = self.active_adapters
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        device = x.device.type
        # The backward pass runs outside autocast. Inputs that are cast here have one type in both
        # passes.
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        tensors = [t.to(dtype) for t in (x.reshape(-1, x.shape[-1]), layer.weight, down, up)]
        flat = _AdaptedProduct.apply(*tensors, self.scaling[name])
        if layer.bias is not None:
            flat = flat + layer.bias.to(dtype)
        return flat.view(*x.shape[:-1], flat.shape[-1])


class _AdaptedProduct(torch.autograd.Function):
    """The product of the frozen weight and the adapter; the frozen weight gets no gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        """Return x W^T + s x A^T B^T, [N, out], for x [N, in], W [out, in], A [r, in] and B [out, r]."""
        inner = x @ down.T
        ctx.save_for_backward(x, weight, down, up, inner)
        ctx.scale = scale
        return (x @ weight.T).addmm_(inner, up.T, alpha=scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients with respect to x, A and B."""
        x, weight, down, up, inner = ctx.saved_tensors
        (grad,) = grads
        inner_grad = (grad @ up).mul_(ctx.scale)
        x_grad = (grad @ weight).addmm_(inner_grad, down) if ctx.needs_input_grad[0] else None
        down_grad = (x.T @ inner_grad).T  # faster than inner_grad.T @ x
        return x_grad, None, down_grad, (grad.T @ inner).mul_(ctx.scale), None
