"""Weighted token losses (Eq. 14, 15; DFT).

Losses are sums over tokens, in nats: divided once by a denominator of the whole train step, they make
micro-batches, accumulation and several workers equal to one large batch. Logits exist only for one
chunk of tokens at a time; tokens outside the loss never reach the output head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kpod_ray.kernels.linear_cross_entropy import TokenScale, _ScaledNll


def weighted_nll(
    hidden: Tensor, head: Tensor, labels: Tensor, token_weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum the negative log-likelihood of the labels, each token scaled by its weight.

    KPOD Eq. 15: L = -sum_j w_j log P(r_j | r_<j, x). With weights of 1 it is Eq. 14.

    Args:
        hidden: [L, d], final hidden state that predicts each label (already shifted).
        head: [V, d], output head; logits are ``hidden @ head.T``.
        labels: [L], token ids.
        token_weights: [L], >= 0, dimensionless; no gradient flows into them.

    Returns:
        The weighted sum, scalar float32 with gradients to ``hidden`` and ``head``; the unweighted
        negative log-likelihood of each token, [L] float32 without gradients, both in nats; and whether
        each label is the likeliest token, [L].

    Raises:
        ValueError: The shapes disagree.
    """
    return _scaled_nll(hidden, head, labels, token_weights, _by_weight)


def probability_scaled_nll(
    hidden: Tensor, head: Tensor, labels: Tensor, token_weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum the negative log-likelihood of the labels, each token scaled by weight and probability.

    Dynamic fine-tuning (arXiv 2508.05629), with token weights: L = -sum_j w_j sg(p_j) log p_j, where
    p_j = P(r_j | r_<j, x), and sg lets no gradient through. A token that the student finds unlikely
    counts less.

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
    num_tokens, width = hidden.shape
    if head.shape[1:] != (width,):
        raise ValueError(f"hidden has width {width}, head has shape {tuple(head.shape)}")
    if labels.shape != (num_tokens,) or token_weights.shape != (num_tokens,):
        raise ValueError(
            f"hidden has {num_tokens} tokens, labels {tuple(labels.shape)}, "
            f"token_weights {tuple(token_weights.shape)}"
        )
    if not torch.is_grad_enabled():  # else the head's gradient would be computed in vain
        hidden, head = hidden.detach(), head.detach()
    total, nll, is_top = _ScaledNll.apply(hidden, head, labels, token_weights.float(), scale)
    return total, nll, is_top
