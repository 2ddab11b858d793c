"""Weighted token losses (Eq. 14, 15, and DFT).

A loss is a sum over tokens, in nats. The caller divides the sum once by a denominator of the whole
train step. A split into micro-batches, gradient accumulation and several workers then gives the same
gradient as one large batch. The kernel computes the logits of one chunk of tokens at a time; the full
[L, V] matrix of logits is never in memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kpod_ray.kernels.linear_cross_entropy import TokenScale, _ScaledNll


def weighted_nll(
    hidden: Tensor, head: Tensor, labels: Tensor, token_weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum the negative log-likelihood of the labels, each token scaled by its weight.

    KPOD Eq. 15: L = -sum_j w_j log P(r_j | r_<j, x). With token weights of 1 the sum is Eq. 14.

    Args:
        hidden: [L, d], final hidden state that predicts each label (already shifted).
        head: [V, d], weight of the output head; the logits are ``hidden @ head.T``.
        labels: [L], token ids.
        token_weights: [L], >= 0, dimensionless; the token weights get no gradient.

    Returns:
        Three tensors: the weighted sum in nats, a float32 scalar with gradients to ``hidden`` and
        ``head``; the unweighted negative log-likelihood of each token in nats, [L] float32 without
        gradient; and whether each label has the largest logit, [L] bool.

    Raises:
        ValueError: The shapes of the arguments disagree.
    """
    return _scaled_nll(hidden, head, labels, token_weights, _by_weight)


def probability_scaled_nll(
    hidden: Tensor, head: Tensor, labels: Tensor, token_weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum the negative log-likelihood of the labels, each token scaled by weight and probability.

    Dynamic fine-tuning (DFT, arXiv 2508.05629) with token weights: L = -sum_j w_j sg(p_j) log p_j,
    where p_j = P(r_j | r_<j, x) and sg stops the gradient. Tokens that are unlikely under the student
    have a small weight in the loss.

    Arguments, results and errors are those of `weighted_nll`.
    """
    return _scaled_nll(hidden, head, labels, token_weights, _by_weight_and_probability)


def _by_weight(nll: Tensor, token_weights: Tensor) -> Tensor:
    return token_weights


def _by_weight_and_probability(nll: Tensor, token_weights: Tensor) -> Tensor:
    return token_weights * torch.exp(-nll)


def _scaled_nll(
    hidden: Tensor, head: Tensor, labels: Tensor, token_weights: Tensor, scale: TokenScale
) -> tuple[Tensor, Tensor, Tensor]:
    """Check the shapes, and sum the losses scaled by ``scale`` (`weighted_nll`)."""
    num_tokens, width = hidden.shape
    if head.shape[1:] != (width,):
        raise ValueError(f"hidden has width {width}, head has shape {tuple(head.shape)}")
    if labels.shape != (num_tokens,) or token_weights.shape != (num_tokens,):
        raise ValueError(
            f"hidden has {num_tokens} tokens, labels {tuple(labels.shape)}, "
            f"token_weights {tuple(token_weights.shape)}"
        )
    if not torch.is_grad_enabled():
        # `_ScaledNll` computes gradients in its forward pass, for every input that requires one.
        hidden, head = hidden.detach(), head.detach()
    total, nll, is_top = _ScaledNll.apply(hidden, head, labels, token_weights.float(), scale)
    return total, nll, is_top
