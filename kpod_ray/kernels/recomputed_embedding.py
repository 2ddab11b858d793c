"""Tied embeddings with one gradient of the shared weight.

Computes: the same as input embeddings and output head of transformers that share a weight.

Why: autograd computes a gradient of the weight, [V, d], for each of the two uses, and adds them. Here
the gradient of the input rows is added in place to that of the head.

Measured: not measured; computed, the gradient of 49,152 rows of SmolLM2-135M is 108 MiB once instead of
twice.

What would break it: a second backward pass, and two calls of `RecomputedEmbedding.head` in one loss.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def output_head(language_model: Any) -> Tensor:
    """Return the weight of a model's output head, [V, d]: the parameter itself or a view, no copy.

    With recomputed embeddings the function must be called once for every forward pass, after the
    embeddings (`RecomputedEmbedding.head`). A bias of the head is left out.
    """
    embedding = language_model.get_input_embeddings()
    if isinstance(embedding, RecomputedEmbedding):
        return embedding.head()
    head: Tensor = language_model.get_output_embeddings().weight
    return head


class RecomputedEmbedding(nn.Module):
    """Tied embeddings: the weight, [V, d], is both input embeddings and output head.

    The backward pass stores the gradient of the head in ``head_grad``, adds the gradients of the input
    rows in place, and returns the sum. Therefore a loss may depend on only one call of `head`, after the
    calls of `forward`. The embedding of ``padding_id``, if not None, gets no gradient from the input.
    """

    def __init__(self, weight: nn.Parameter, padding_id: int | None) -> None:
        super().__init__()
        self.weight = weight
        self.padding_id = padding_id
        self.head_grad: Tensor | None = None

    def forward(self, ids: Tensor) -> Tensor:
        """Return the embeddings [..., d] of int64 ids [...]; the gradient includes that of `head`."""
        embedded: Tensor = _Rows.apply(self.weight, ids, self)
        return embedded

    def head(self) -> Tensor:
        """Return the output head, [V, d], a view of the weight, for one pass through these embeddings.

        To be called once for each loss, after `forward`, on whose result the loss must also depend: the
        backward pass of `forward` hands the gradient of the head to the weight.
        """
        head: Tensor = _Head.apply(self.weight, self)
        return head


class _Rows(torch.autograd.Function):
    """The lookup of input embeddings; its backward pass also returns the gradient of the head."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, embedding: RecomputedEmbedding) -> Tensor:
        """Return the rows of ``weight``, [V, d], of ``ids``, [...], as [..., d]."""
        ctx.save_for_backward(ids)
        ctx.embedding = embedding
        ctx.size = weight.shape
        return nn.functional.embedding(ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of ``weight``, that of the head included."""
        (ids,) = ctx.saved_tensors
        embedding = ctx.embedding
        rows = ids.flatten()
        values = grads[0].flatten(0, -2)
        # Taking the head's gradient out makes sure that the next backward pass doesn't count it again.
        total = embedding.head_grad
        embedding.head_grad = None
        if total is None:
            total = values.new_zeros(ctx.size)
        if embedding.padding_id is not None:
            values = values * (rows != embedding.padding_id)[:, None]
        return total.index_add_(0, rows, values), None, None


class _Head(torch.autograd.Function):
    """The output head; its backward pass stores the gradient for `_Rows` instead of returning it."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, embedding: RecomputedEmbedding) -> Tensor:
        """Return a view of ``weight``."""
        ctx.embedding = embedding
        return weight.view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None]:
        """Store the gradient of the head for `_Rows`."""
        ctx.embedding.head_grad = grads[0]
        return None, None
