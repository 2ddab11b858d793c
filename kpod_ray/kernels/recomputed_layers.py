"""Layers that keep less for the backward pass: what is cheap to compute again isn't kept.

A model's own norm keeps its input and what it normalised; its gated feed-forward part keeps what the
norm gave and four tensors of the inner width. Here the input alone and two of them are kept. Input
embeddings that are also the output head have one gradient with it, not two that are added up.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks


class RecomputedNorm(nn.Module):
    """Root mean square norm: x / sqrt(mean(x^2) + epsilon) * weight.

    Under autocast what comes of float32 has autocast's type at once: else each of the linear layers that
    read it would make and keep a copy of its own.
    """

    def __init__(self, weight: nn.Parameter, epsilon: float) -> None:
        super().__init__()
        self.weight, self.epsilon = weight, epsilon

    def forward(self, hidden: Tensor) -> Tensor:
        """Return [..., d] of [..., d]; its attribute ``again`` calculates it once more."""
        device, dtype = hidden.device.type, hidden.dtype
        if dtype == torch.float32 and torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        normed, scale = _Norm.apply(hidden, self.weight, self.epsilon, dtype)
        again = hidden.detach(), scale, self.weight.detach(), dtype
        normed.again = functools.partial(_normed, *again)
        return cast(Tensor, normed)


class Scratch:
    """Memory for one tensor at a time: taken anew for each, it would leave holes among what is kept."""

    def __init__(self) -> None:
        self._buffer = torch.empty(0)

    def like(self, tensor: Tensor) -> Tensor:
        """Return a tensor of another's shape, type and device; the one before is no more."""
        buffer, size = self._buffer, tensor.numel()
        kind = tensor.dtype, tensor.device
        if buffer.numel() < size or (buffer.dtype, buffer.device) != kind:
            self._buffer = buffer = torch.empty(size, dtype=tensor.dtype, device=tensor.device)
        return buffer[:size].view(tensor.shape)


class RecomputedGatedMlp(nn.Module):
    """down(silu(gate(x)) * up(x)).

    The product is calculated again when it is needed, and x, too, if a lean norm gave it.

    Args:
        gate_proj: the layers, by their usual names.
        up_proj: likewise.
        down_proj: likewise.
        scratch: holds a product only until it has gone down; layers share it.
    """

    def __init__(
        self, gate_proj: nn.Module, up_proj: nn.Module, down_proj: nn.Module, scratch: Scratch
    ) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = gate_proj, up_proj, down_proj
        self.scratch = scratch

    def forward(self, hidden: Tensor) -> Tensor:
        """Return [..., d] of [..., d]."""
        again: dict[int, Callable[[], Tensor]] = {}
        if hasattr(hidden, "again"):
            again[hidden.data_ptr()] = hidden.again
        with saved_tensors_hooks(functools.partial(_pack, again), _unpack):
            gate, up = self.gate_proj(hidden), self.up_proj(hidden)
            product: Tensor = _GatedProduct.apply(gate, up, self.scratch)
            factors = gate.detach(), up.detach(), self.scratch
            again[product.data_ptr()] = functools.partial(_gated_product, *factors)
            output: Tensor = self.down_proj(product)
        return output


def _pack(again: Mapping[int, Callable[[], Tensor]], tensor: Tensor) -> Any:
    """Keep how a tensor is calculated in place of the tensor, by its address: it lives till then."""
    calculate = again.get(tensor.data_ptr())
    return tensor if calculate is None else (calculate, tensor.shape)


def _unpack(kept: Any) -> Tensor:
    if isinstance(kept, Tensor):
        return kept
    calculate, shape = kept
    return cast(Tensor, calculate().view(shape))


class RecomputedEmbedding(nn.Module):
    """Input embeddings, [V, d], whose weight is the output head, too.

    The head's gradient, which comes first in the backward pass, waits here for the rows that were read.
    """

    def __init__(self, weight: nn.Parameter, padding_id: int | None) -> None:
        super().__init__()
        self.weight, self.padding_id = weight, padding_id
        self.head_grad: Tensor | None = None

    def forward(self, ids: Tensor) -> Tensor:
        """Return [..., d] of [...] ids."""
        embedded: Tensor = _Rows.apply(self.weight, ids, self)
        return embedded

    def head(self) -> Tensor:
        """Return the output head, [V, d], for logits of what began with these embeddings."""
        head: Tensor = _Head.apply(self.weight, self)
        return head


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, embedding: RecomputedEmbedding) -> Tensor:
        """Return the rows of these ids."""
        ctx.save_for_backward(ids)
        ctx.embedding, ctx.size = embedding, weight.shape
        return nn.functional.embedding(ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the weight, the head's part in it; that of padding is 0."""
        (ids,) = ctx.saved_tensors
        embedding, rows, values = ctx.embedding, ids.flatten(), grads[0].flatten(0, -2)
        total, embedding.head_grad = embedding.head_grad, None
        if total is None:
            total = values.new_zeros(ctx.size)
        if embedding.padding_id is not None:
            values = values * (rows != embedding.padding_id)[:, None]
        return total.index_add_(0, rows, values), None, None


class _Head(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, embedding: RecomputedEmbedding) -> Tensor:
        """Return the weight."""
        ctx.embedding = embedding
        return weight.view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None]:
        """Leave the gradient with the embeddings."""
        ctx.embedding.head_grad = grads[0]
        return None, None


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, epsilon: float, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Return hidden * scale * weight in a type, and the scale, [..., 1]."""
        norm = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
        scale = norm.square_().div_(hidden.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(hidden, weight, scale)
        ctx.mark_non_differentiable(scale)
        return _normed(hidden, scale, weight, dtype), scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of hidden, [..., d], and weight, [d]."""
        hidden, weight, scale = ctx.saved_tensors
        needs, grad = [*ctx.needs_input_grad[:2], False], grads[0].to(hidden.dtype)
        mean = torch.zeros_like(scale)  # a layer norm's gradient, but for that of its mean
        hidden_grad, weight_grad, _ = torch.ops.aten.native_layer_norm_backward(
            grad, hidden, weight.shape, mean, scale, weight, None, needs
        )
        if hidden_grad is not None:
            of_mean = (grad @ weight).unsqueeze(-1).mul_(scale).div_(len(weight))
            hidden_grad.add_(of_mean)
        return hidden_grad, weight_grad, None, None


def _normed(hidden: Tensor, scale: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    return (hidden * scale).mul_(weight).to(dtype)


class _GatedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, scratch: Scratch) -> Tensor:
        """Return silu(gate) * up."""
        ctx.save_for_backward(gate, up)
        ctx.is_spent = False
        return _gated_product(gate, up, scratch)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return the gradients of gate and up, in place of them: nothing else has kept them."""
        if ctx.is_spent:
            raise RuntimeError("a lean layer goes backward once: what it kept is overwritten")
        gate, up = ctx.saved_tensors
        ctx.is_spent = True
        up.mul_(grads[0])
        gate_grad = torch.ops.aten.silu_backward.grad_input(up, gate, grad_input=up)
        return gate_grad, nn.functional.silu(gate, inplace=True).mul_(grads[0]), None


def _gated_product(gate: Tensor, up: Tensor, scratch: Scratch) -> Tensor:
    return torch.ops.aten.silu.out(gate, out=scratch.like(gate)).mul_(up)


def output_head(language_model: Any) -> Tensor:
    """Return a model's output head, [V, d]."""
    embedding = language_model.get_input_embeddings()
    if isinstance(embedding, RecomputedEmbedding):
        return embedding.head()
    head: Tensor = language_model.get_output_embeddings().weight
    return head


def use_recomputed_layers(language_model: Any) -> None:
    """Replace the layers that do the same by lean ones, in place."""
    scratch = Scratch()
    for parent in list(language_model.modules()):
        for name, module in list(parent.named_children()):
            recomputed = _recomputed(module, scratch)
            if recomputed is not None and _do_the_same(module, recomputed):
                setattr(parent, name, recomputed)
    embedding, head = language_model.get_input_embeddings(), language_model.get_output_embeddings()
    is_plain = type(embedding) is nn.Embedding and embedding.max_norm is None
    if is_plain and embedding.weight is head.weight and head.weight.requires_grad:
        recomputed = RecomputedEmbedding(head.weight, embedding.padding_idx)
        language_model.set_input_embeddings(recomputed)


def _recomputed(module: nn.Module, scratch: Scratch) -> nn.Module | None:
    """Return what may take a module's place; it shares its parameters."""
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
def _do_the_same(module: nn.Module, recomputed: nn.Module) -> bool:
    """Tell from a few random inputs whether two modules are alike."""
    first = next(module.parameters())
    probe = torch.linspace(-2, 3, 3 * first.shape[-1], device=first.device).view(1, 3, -1)
    expected, output = module(probe), recomputed(probe)
    largest = float(expected.abs().max())
    return torch.allclose(output, expected, rtol=0, atol=1e-5 * largest)
