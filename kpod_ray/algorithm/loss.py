"""Weighted token losses (Eq. 14, 15, and DFT).

A loss is a sum over tokens, in nats. The caller divides the sum once by a denominator of the whole train
step: micro-batches, gradient accumulation and several workers then give the gradient of one large batch.
By default a kernel computes the logits of one chunk of tokens at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from kpod_ray.kernels.linear_cross_entropy import TokenScale, linear_cross_entropy

LossTensors = tuple[Tensor, Tensor, Tensor]
ScaledNll = Callable[[Tensor, Tensor, Tensor, Tensor, TokenScale], LossTensors]
"""Function that computes the losses: `linear_cross_entropy` of the kernels, or `full_logits_nll`."""


def weighted_nll(
    hidden: Tensor,
    head: Tensor,
    labels: Tensor,
    token_weights: Tensor,
    scaled_nll: ScaledNll = linear_cross_entropy,
) -> LossTensors:
    """Sum the negative log-likelihood of the labels, each token scaled by its weight.

    KPOD Eq. 15: L = -sum_j w_j log P(r_j | r_<j, x). With token weights of 1 the sum is Eq. 14. All
    tensors are on one device. The function is called outside autocast.

    Args:
        hidden: [L, d], final hidden state that predicts each label: row j belongs to ``labels[j]``,
            without a shift. L may be 0. The logits ``hidden @ head.T`` are computed in the type of
            ``hidden``.
        head: [V, d], weight of the output head, of any floating-point type; a head that needs a gradient
            is float32 or, on a GPU, of the type of ``hidden``.
        labels: [L], int64, contiguous, token ids from 0 to V - 1; no id, such as -100, is ignored.
        token_weights: [L], >= 0, which must not require a gradient.
        scaled_nll: `linear_cross_entropy`, or `full_logits_nll`, which stores the logits of all tokens.

    Returns:
        The weighted sum in nats, a float32 scalar with gradients to ``hidden`` and ``head`` for one
        backward pass; and without gradient the unweighted loss of each token in nats, [L] float32, and
        whether each label has the largest logit (alone or in a tie), [L] bool.

    Raises:
        ValueError: The shapes of the arguments disagree.
        RuntimeError: A label is no token id (on a CPU; an `IndexError` is possible with
            `full_logits_nll`).
    """
    _check_shapes(hidden, head, labels, token_weights)
    return scaled_nll(hidden, head, labels, token_weights.float(), _by_weight)


def probability_scaled_nll(
    hidden: Tensor,
    head: Tensor,
    labels: Tensor,
    token_weights: Tensor,
    scaled_nll: ScaledNll = linear_cross_entropy,
) -> LossTensors:
    """Sum the negative log-likelihood of the labels, each token scaled by weight and probability.

    Dynamic fine-tuning (DFT, arXiv 2508.05629) with token weights: L = -sum_j w_j sg(p_j) log p_j, where
    p_j = P(r_j | r_<j, x) and sg stops the gradient. Tokens that are unlikely under the student have a
    small weight. Arguments, results and errors are those of `weighted_nll`; the sum is this L in nats,
    and the losses of single tokens are not scaled.
    """
    _check_shapes(hidden, head, labels, token_weights)
    return scaled_nll(hidden, head, labels, token_weights.float(), _by_weight_and_probability)


def with_full_logits(token_loss: Callable[..., LossTensors]) -> Callable[..., LossTensors]:
    """Return a variant of `weighted_nll` or `probability_scaled_nll` that uses `full_logits_nll`.

    The variant differs by rounding only, and stores the logits of all tokens, [L, V], at once.
    """
    return functools.partial(token_loss, scaled_nll=full_logits_nll)


def full_logits_nll(
    hidden: Tensor, head: Tensor, labels: Tensor, token_weights: Tensor, scale: TokenScale
) -> LossTensors:
    """Compute the results of `linear_cross_entropy` from the logits of all tokens, [L, V], at once.

    Args:
        hidden: [L, d], hidden states, in the type of the matrix product.
        head: [V, d], weight of the output head, converted to the type of ``hidden``.
        labels: [L], int64, token ids from 0 to V - 1; another id raises an error on a CPU.
        token_weights: [L], float32, which must not require a gradient, passed to ``scale``.
        scale: Function from the losses in nats, [L] without gradient, and the weights to the factors of
            the losses in the sum, [L].

    Returns:
        The scaled sum in nats, a float32 scalar with gradients to ``hidden`` and ``head``; and without
        gradient the loss of each token in nats, [L] float32, and whether each label has the largest
        logit (alone or in a tie), [L] bool.
    """
    logits = (hidden @ head.to(hidden.dtype).T).float()
    nll = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    token_nll = nll.detach()
    picked = logits.detach().gather(1, labels[:, None]).squeeze(1)
    total = (nll * scale(token_nll, token_weights)).sum()
    return total, token_nll, picked >= logits.detach().amax(1)


def _by_weight(nll: Tensor, token_weights: Tensor) -> Tensor:
    return token_weights


def _by_weight_and_probability(nll: Tensor, token_weights: Tensor) -> Tensor:
    return token_weights * torch.exp(-nll)


def _check_shapes(hidden: Tensor, head: Tensor, labels: Tensor, token_weights: Tensor) -> None:
    """Raise a ValueError where the shapes disagree (`weighted_nll`)."""
    num_tokens, width = hidden.shape
    if head.shape[1:] != (width,):
        raise ValueError(f"hidden has width {width}, head has shape {tuple(head.shape)}")
    if labels.shape != (num_tokens,) or token_weights.shape != (num_tokens,):
        raise ValueError(
            f"hidden has {num_tokens} tokens, labels {tuple(labels.shape)}, "
            f"token_weights {tuple(token_weights.shape)}"
        )
