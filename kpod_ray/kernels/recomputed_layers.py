"""Layers that save less for the backward pass and recompute cheap tensors there.

Computes: the same as the root mean square norms and gated feed-forward layers (SiLU) of transformers,
with the same parameters under the same names.

Why: of a norm and the feed-forward layer after it, autograd usually saves the norm's input and output
and four tensors of the inner width; here only the norm's input and two of the four, and a recompute
closure in place of the norm's output and of the gated product.

Measured: ``python -m benchmarks.kernels``, AMD EPYC, one thread beside other work, fp32: four norms with
feed-forward layers of SmolLM2-135M's size and 1,024 tokens took 154 MiB, transformers' own 209 MiB. CPU
times (801 and 803 ms, median of 3) differ by less than between two rounds.

What would break it: a second backward pass; gradient checkpointing, with which `training.build` doesn't
use these layers; in-place changes of the norm's output, and hooks that keep it; a version of
transformers that renames ``variance_epsilon``, ``act_fn`` or the projections, whose models keep their
own layers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks

from kpod_ray.kernels.recomputed_embedding import RecomputedEmbedding


def use_recomputed_layers(language_model: Any) -> None:
    """Replace layers of a float32 language model by recomputed layers with the same outputs, in place.

    Replaced are root mean square norms, gated feed-forward layers, and input embeddings (without
    ``max_norm``) that share a trainable weight with the output head. Parameters stay the same objects
    under the same names. Layers whose outputs for a few inputs would differ stay. Afterwards each
    forward pass allows one backward pass, without second derivatives and gradient checkpointing. A loss
    that takes the head from `output_head` needs only one gradient of the shared weight.
    """
    scratch = Scratch()
    for parent in list(language_model.modules()):
        for name, module in list(parent.named_children()):
            recomputed = _recomputed(module, scratch)
            if recomputed is not None and _give_the_same(module, recomputed):
                setattr(parent, name, recomputed)
    embedding, head = language_model.get_input_embeddings(), language_model.get_output_embeddings()
    is_plain = type(embedding) is nn.Embedding and embedding.max_norm is None
    if is_plain and embedding.weight is head.weight and head.weight.requires_grad:
        recomputed = RecomputedEmbedding(head.weight, embedding.padding_idx)
        language_model.set_input_embeddings(recomputed)


class RecomputedNorm(nn.Module):
    """Root mean square norm, x / sqrt(mean(x^2) + epsilon) * weight, with the given weight [d]."""

    def __init__(self, weight: nn.Parameter, epsilon: float) -> None:
        super().__init__()
        self.weight = weight
        self.epsilon = epsilon

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the normalized states [..., d] of hidden states [..., d].

        The output has the type of autocast if autocast is on and the input is float32, else the type of
        the input. The output's attribute ``recompute`` computes the output again. Until the backward
        pass, input, output and weight must not be changed in place.
        """
        device = hidden.device.type
        dtype = hidden.dtype
        # Under autocast a float32 output would be cast by every linear layer that reads the output, and
        # each layer would save its own copy. So the output has the type of autocast from the start.
        if dtype == torch.float32 and torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        normed, scale = _Norm.apply(hidden, self.weight, self.epsilon, dtype)
        # The closure holds detached tensors: recomputation must not build another autograd graph.
        inputs = hidden.detach(), scale, self.weight.detach(), dtype
        normed.recompute = functools.partial(_normed, *inputs)
        return cast(Tensor, normed)


class Scratch:
    """A buffer for one short-lived tensor at a time, shared by all layers of a model.

    Separate allocations of such tensors between the saved tensors would fragment the memory.
    """

    def __init__(self) -> None:
        self._buffer = torch.empty(0)

    def like(self, tensor: Tensor) -> Tensor:
        """Return an uninitialized contiguous tensor with the shape, type and device of another tensor.

        The tensor of the previous call must not be needed any more: both may share the buffer.
        """
        buffer = self._buffer
        size = tensor.numel()
        kind = tensor.dtype, tensor.device
        if buffer.numel() < size or (buffer.dtype, buffer.device) != kind:
            self._buffer = buffer = torch.empty(size, dtype=tensor.dtype, device=tensor.device)
        return buffer[:size].view(tensor.shape)


class RecomputedGatedMlp(nn.Module):
    """Gated feed-forward layer, down(silu(gate(x)) * up(x)), of three linear layers.

    The backward pass recomputes the product in the ``scratch`` buffer, and x if x is the output of a
    `RecomputedNorm`. The backward pass overwrites the outputs of ``gate_proj`` and ``up_proj``.
    """

    def __init__(
        self, gate_proj: nn.Module, up_proj: nn.Module, down_proj: nn.Module, scratch: Scratch
    ) -> None:
        super().__init__()
        self.gate_proj = gate_proj
        self.up_proj = up_proj
        self.down_proj = down_proj
        self.scratch = scratch

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the output [..., d] for the input [..., d].

        A second backward pass raises a RuntimeError, and the input must not be changed before the first.
        """
        # The linear layers of this block save their inputs for the backward pass. The hooks replace
        # these saved inputs, ``hidden`` and ``product``, by recompute closures.
        closures: dict[int, Callable[[], Tensor]] = {}
        if hasattr(hidden, "recompute"):
            closures[hidden.data_ptr()] = hidden.recompute
        with saved_tensors_hooks(functools.partial(_pack, closures), _unpack):
            gate, up = self.gate_proj(hidden), self.up_proj(hidden)
            product: Tensor = _GatedProduct.apply(gate, up, self.scratch)
            factors = gate.detach(), up.detach(), self.scratch
            closures[product.data_ptr()] = functools.partial(_gated_product, *factors)
            output: Tensor = self.down_proj(product)
        return output


def _pack(closures: Mapping[int, Callable[[], Tensor]], tensor: Tensor) -> Any:
    """Return a tensor, or in its place the recompute closure by its data pointer, and its shape."""
    # A data pointer identifies a tensor here: the tensors of the closures stay alive during the layer's
    # forward pass, so no other tensor can have their memory.
    recompute = closures.get(tensor.data_ptr())
    return tensor if recompute is None else (recompute, tensor.shape)


def _unpack(saved: Any) -> Tensor:
    if isinstance(saved, Tensor):
        return saved
    recompute, shape = saved
    return cast(Tensor, recompute().view(shape))


class _Norm(torch.autograd.Function):
    """Root mean square norm that saves its input and one scale for each token."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, epsilon: float, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Return hidden * scale * weight, [..., d], in ``dtype``, and the scale, [..., 1]."""
        norm = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
        scale = norm.square_().div_(hidden.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(hidden, weight, scale)
        ctx.mark_non_differentiable(scale)
        return _normed(hidden, scale, weight, dtype), scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients with respect to hidden, [..., d], and weight, [d]."""
        hidden, weight, scale = ctx.saved_tensors
        needs = [*ctx.needs_input_grad[:2], False]
        grad = grads[0].to(hidden.dtype)
        # torch's kernel for layer norms, with mean 0, subtracts the gradient that flows through the
        # mean, which this norm doesn't have: the last step adds that gradient again.
        mean = torch.zeros_like(scale)
        hidden_grad, weight_grad, _ = torch.ops.aten.native_layer_norm_backward(
            grad, hidden, weight.shape, mean, scale, weight, None, needs
        )
        if hidden_grad is not None:
            mean_grad = (grad @ weight).unsqueeze(-1).mul_(scale).div_(len(weight))
            hidden_grad.add_(mean_grad)
        return hidden_grad, weight_grad, None, None


def _normed(hidden: Tensor, scale: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Return hidden * scale * weight in ``dtype``, in the forward pass and in the recomputation."""
    return (hidden * scale).mul_(weight).to(dtype)


class _GatedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, scratch: Scratch) -> Tensor:
        """Return silu(gate) * up, valid until the buffer is used again."""
        ctx.save_for_backward(gate, up)
        ctx.is_spent = False
        return _gated_product(gate, up, scratch)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return the gradients with respect to gate and up, in place of gate and up."""
        if ctx.is_spent:
            raise RuntimeError(
                "a recomputed layer supports one backward pass; do not retain the graph"
            )
        gate, up = ctx.saved_tensors
        ctx.is_spent = True
        # The gradients overwrite gate and up, which nothing else needs, so no memory is allocated.
        up.mul_(grads[0])
        gate_grad = torch.ops.aten.silu_backward.grad_input(up, gate, grad_input=up)
        return gate_grad, nn.functional.silu(gate, inplace=True).mul_(grads[0]), None


def _gated_product(gate: Tensor, up: Tensor, scratch: Scratch) -> Tensor:
    """Return silu(gate) * up in the scratch buffer, in the forward pass and in the recomputation."""
    return torch.ops.aten.silu.out(gate, out=scratch.like(gate)).mul_(up)


def _recomputed(module: nn.Module, scratch: Scratch) -> nn.Module | None:
    """Return a candidate to replace a module, with the module's parameters; None for other modules."""
    children, parameters = dict(module.named_children()), dict(module.named_parameters())
    epsilon: Any = getattr(module, "variance_epsilon", None)
    if epsilon is not None and not children and parameters.keys() == {"weight"}:
        return RecomputedNorm(parameters["weight"], epsilon)
    projections = ("gate_proj", "up_proj", "down_proj")
    if children.keys() == {*projections, "act_fn"}:
        gate, up, down = (children[name] for name in projections)
        return RecomputedGatedMlp(gate, up, down, scratch)
    return None


@torch.no_grad()
def _give_the_same(module: nn.Module, recomputed: nn.Module) -> bool:
    """Return whether two modules give the same outputs, up to rounding, for a few inputs."""
    first = next(module.parameters())
    probe = torch.linspace(-2, 3, 3 * first.shape[-1], device=first.device).view(1, 3, -1)
    expected, output = module(probe), recomputed(probe)
    largest = float(expected.abs().max())
    return torch.allclose(output, expected, rtol=0, atol=1e-5 * largest)
