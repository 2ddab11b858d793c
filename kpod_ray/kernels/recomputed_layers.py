"""Layers that recompute in the backward pass what is cheap to compute, in place of keeping it.

Computes: what root mean square norms, gated feed-forward layers (SiLU) and tied embeddings of
transformers compute, with the same parameters under the same names. `use_recomputed_layers`
replaces a layer only where a few inputs give the same outputs.

Why: a model's own norm keeps its input and the normalised states; its gated feed-forward layer
keeps the norm's output and four tensors of the inner width. Here the norm's input and two of the
four are kept: a recompute closure, keyed by the tensor's data pointer, takes the place of the
norm's output and of the product. Input embeddings that are also the output head have one gradient,
[V, d], to which rows are added, in place of two that are added up.

Measured: ``python -m benchmarks.kernels``, AMD EPYC, one thread beside other work, fp32: four norms
with feed-forward layers of SmolLM2-135M's size and 1,024 tokens took 154 MiB, transformers' own 209
MiB, in the same CPU time (801 and 803 ms). The gradient of tied embeddings is 108 MiB once instead
of twice for that model's 49,152 rows (computed, not measured). A whole training of it went from
3,604 MiB at commit 842513a to 2,755 at 3eee3f6, this module among the changes (docs/results.md,
``python -m benchmarks.training``).

What would break it: a second backward pass, which raises an error, since the first overwrites gate
and up projections; gradient checkpointing, for which `training.build.build_student` leaves these
layers out; in-place use of the norm's output or hooks that keep it; a transformers version that
renames ``variance_epsilon``, ``gate_proj``, ``up_proj``, ``down_proj`` or ``act_fn``: the model's
own layers then stay.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks


def output_head(language_model: Any) -> Tensor:
    """Return a model's output head, [V, d]."""
    embedding = language_model.get_input_embeddings()
    if isinstance(embedding, RecomputedEmbedding):
        return embedding.head()
    head: Tensor = language_model.get_output_embeddings().weight
    return head


def use_recomputed_layers(language_model: Any) -> None:
    """Replace layers by recomputed ones that give the same outputs, in place."""
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
    """Root mean square norm: x / sqrt(mean(x^2) + epsilon) * weight.

    Under autocast the output of a float32 input has autocast's type at once: else each linear layer that
    reads the output would make and keep a copy of its own.
    """

    def __init__(self, weight: nn.Parameter, epsilon: float) -> None:
        super().__init__()
        self.weight, self.epsilon = weight, epsilon

    def forward(self, hidden: Tensor) -> Tensor:
        """Return [..., d] of [..., d]; the output's attribute ``recompute`` is its recompute closure."""
        device, dtype = hidden.device.type, hidden.dtype
        if dtype == torch.float32 and torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        normed, scale = _Norm.apply(hidden, self.weight, self.epsilon, dtype)
        inputs = hidden.detach(), scale, self.weight.detach(), dtype
        normed.recompute = functools.partial(_normed, *inputs)
        return cast(Tensor, normed)


class Scratch:
    """Memory for one tensor at a time; an allocation for each would fragment what is kept."""

    def __init__(self) -> None:
        self._buffer = torch.empty(0)

    def like(self, tensor: Tensor) -> Tensor:
        """Return a tensor of another's shape, type and device; it overwrites the one before."""
        buffer, size = self._buffer, tensor.numel()
        kind = tensor.dtype, tensor.device
        if buffer.numel() < size or (buffer.dtype, buffer.device) != kind:
            self._buffer = buffer = torch.empty(size, dtype=tensor.dtype, device=tensor.device)
        return buffer[:size].view(tensor.shape)


class RecomputedGatedMlp(nn.Module):
    """down(silu(gate(x)) * up(x)).

    The backward pass recomputes the product, and x, too, if x is the output of a `RecomputedNorm`.

    Args:
        gate_proj: linear, [..., d] to the inner width.
        up_proj: likewise.
        down_proj: linear, from the inner width to d.
        scratch: holds the product until ``down_proj`` has read it; all layers share it.
    """

    def __init__(
        self, gate_proj: nn.Module, up_proj: nn.Module, down_proj: nn.Module, scratch: Scratch
    ) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = gate_proj, up_proj, down_proj
        self.scratch = scratch

    def forward(self, hidden: Tensor) -> Tensor:
        """Return [..., d] of [..., d]."""
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
    """Save a recompute closure in place of a tensor, keyed by its data pointer.

    The tensors of the closures live until the forward pass of the layer is over, so no other tensor has
    their pointers.
    """
    recompute = closures.get(tensor.data_ptr())
    return tensor if recompute is None else (recompute, tensor.shape)


def _unpack(saved: Any) -> Tensor:
    if isinstance(saved, Tensor):
        return saved
    recompute, shape = saved
    return cast(Tensor, recompute().view(shape))


class RecomputedEmbedding(nn.Module):
    """Input embeddings, [V, d], whose weight is the output head, too.

    The backward pass reaches the head first: the head's gradient waits in ``head_grad`` until the
    gradient of the rows that were read is added to it.
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
        """Return the output head, [V, d], for logits of a forward pass through these embeddings."""
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
        """Return the gradients of gate and up, written over gate and up, which nothing else keeps."""
        if ctx.is_spent:
            raise RuntimeError("a recomputed layer goes backward once: what it kept is overwritten")
        gate, up = ctx.saved_tensors
        ctx.is_spent = True
        up.mul_(grads[0])
        gate_grad = torch.ops.aten.silu_backward.grad_input(up, gate, grad_input=up)
        return gate_grad, nn.functional.silu(gate, inplace=True).mul_(grads[0]), None


def _gated_product(gate: Tensor, up: Tensor, scratch: Scratch) -> Tensor:
    return torch.ops.aten.silu.out(gate, out=scratch.like(gate)).mul_(up)


def _recomputed(module: nn.Module, scratch: Scratch) -> nn.Module | None:
    """Return the layer that may replace a module, with the module's own parameters; None without one."""
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
    """Whether two modules give the same outputs for a few inputs."""
    first = next(module.parameters())
    probe = torch.linspace(-2, 3, 3 * first.shape[-1], device=first.device).view(1, 3, -1)
    expected, output = module(probe), recomputed(probe)
    largest = float(expected.abs().max())
    return torch.allclose(output, expected, rtol=0, atol=1e-5 * largest)
