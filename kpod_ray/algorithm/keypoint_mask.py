"""The keypoint mask and the loss of the token weighter (Eq. 3 to 7).

Two recipes set how many tokens a mask keeps. In the paper, the mask-ratio penalty of Eq. 6 and 7 sets
the number. With random keep rates, each rationale keeps a given expected fraction of its tokens: a shift
of the rationale's logits enforces the fraction exactly, so that the logits learn the order of the tokens
alone and cannot collapse.

The mask is multiplied into token embeddings. Replacing token ids instead would cut the gradient from
the answer loss to the token weights; only the mask-ratio penalty would remain, which drives all token
weights to 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST_LOGIT = 3.0
"""Bound of the logits of a weighter with random keep rates."""
KEEP_RATES = (0.15, 0.85)
"""Ends of the uniform distribution of random keep rates."""
_BISECTIONS = 24
"""Halvings of the interval of the shift, 6 wide at first; the shift is exact to 1e-6."""
_NUM_RATES = 8
"""Keep rates over which `mean_keep_probability` averages."""


def gumbel_noise(uniform: Tensor) -> Tensor:
    """Return logistic noise, the difference of two Gumbel variables, from uniform numbers u in [0, 1].

    The noise log(u / (1 - u)) has the shape and type of u; u is limited to 1e-6 and 1 - 1e-6. The type
    must be float32 or float64: in 16 bits, 1 - 1e-6 is rounded to 1, whose noise is infinite.
    """
    clipped = uniform.clamp(1e-6, 1 - 1e-6)  # the logarithms of 0 would be infinite
    return torch.log(clipped) - torch.log1p(-clipped)


def annealed_temperature(
    train_step: int, num_train_steps: int, first: float, last: float | None
) -> float:
    """Return the Gumbel temperature of a train step, annealed geometrically from ``first`` to ``last``.

    Args:
        train_step: Train step, from 0; from the last planned one on, the temperature is ``last``.
        num_train_steps: Planned number of train steps; with 1, train step 0 has the temperature
            ``first``.
        first: Temperature of train step 0, > 0.
        last: Temperature of the last planned train step, > 0. None keeps the temperature at ``first``.
    """
    if last is None:
        return first
    progress = min(1.0, train_step / max(1, num_train_steps - 1))
    return first ** (1 - progress) * last**progress


def relaxed_mask(logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """Return the relaxed keypoint mask, sigmoid((logits + noise) / temperature), [B, L].

    The mask is the Gumbel-softmax of [log(1 - w), log w] with token weights w = sigmoid(logits). Its
    values go from 0 (masks a token) to 1 (keeps a token), with gradients to the logits. ``noise``, [B,
    L], comes from `gumbel_noise`. The mask becomes binary as the temperature, > 0, goes to 0.
    """
    # A softmax over two classes is the sigmoid of the difference of their logits.
    return torch.sigmoid((logits + noise) / temperature)


def straight_through_mask(logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """Return a binary keypoint mask (Eq. 4) with the gradient of `relaxed_mask`, [B, L].

    The mask is 1 (keeps a token) where the mask that `relaxed_mask` returns for the same arguments is
    above 0.5, else 0. ``noise`` has the type of the logits.
    """
    relaxed = relaxed_mask(logits, noise, temperature)
    rounded = (relaxed > 0.5).to(relaxed.dtype)
    # The brackets matter: the difference is exactly 0, so the sum is exactly 0 or 1.
    return rounded + (relaxed - relaxed.detach())


def bounded_logits(raw: Tensor, token_mask: Tensor) -> Tensor:
    """Return logits with the mean of each rationale subtracted, bounded smoothly to ±`LARGEST_LOGIT`.

    `shifted_to_rate` removes a common offset of a rationale's logits, so no force would hold the offset;
    and no force but the bound keeps the logits from saturating the mask.

    Args:
        raw: [B, L], finite at rationale tokens; the values at padding have no effect on other values.
        token_mask: [B, L], bool or number, 1 at rationale tokens, 0 at padding.

    Returns:
        [B, L], with gradients to ``raw``; undefined at padding.
    """
    mean = (raw * token_mask).sum(-1, keepdim=True) / _lengths(token_mask)
    return LARGEST_LOGIT * torch.tanh((raw - mean) / LARGEST_LOGIT)


def shifted_to_rate(logits: Tensor, token_mask: Tensor, keep_rate: Tensor) -> Tensor:
    """Shift the logits of each rationale so that the mean of their sigmoids is the keep rate.

    A rounded mask (`straight_through_mask`) keeps each token with the sigmoid as probability, so that it
    keeps exactly this fraction of the tokens in expectation, whatever the temperature.

    Args:
        logits: [B, L], float32, within ±`LARGEST_LOGIT` at rationale tokens.
        token_mask: [B, L], bool or number, 1 at rationale tokens, 0 at padding; at least one 1 a row.
        keep_rate: [B], in (0, 1).

    Returns:
        [B, L], with the gradient of the identity to ``logits``: none goes through the shift.
    """
    weights = token_mask.to(logits.dtype)
    target = keep_rate[:, None]
    offset = torch.logit(target)
    values = logits.detach()
    # The mean of the sigmoids increases with the shift. At the lower end of the interval no sigmoid is
    # above the keep rate, at the upper end none is below.
    low, high = offset - LARGEST_LOGIT, offset + LARGEST_LOGIT
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        mean = (torch.sigmoid(values + middle) * weights).sum(-1, keepdim=True) / _lengths(weights)
        low = torch.where(mean < target, middle, low)
        high = torch.where(mean < target, high, middle)
    return logits + (low + high) / 2


def mean_keep_probability(logits: Tensor, token_mask: Tensor) -> Tensor:
    """Return each token's probability to be kept, averaged over the keep rates of the training.

    These are the token weights of a weighter with random keep rates. Their mean over a rationale is the
    mean keep rate, 0.5, and their order within a rationale is that of the logits.

    Args:
        logits: [B, L], from `bounded_logits`.
        token_mask: [B, L], bool or number, 1 at rationale tokens, 0 at padding; at least one 1 a row.

    Returns:
        [B, L], in (0, 1); undefined at padding.
    """
    lowest, highest = KEEP_RATES
    # Midpoints of equal parts of the interval: their mean is exactly the mean of the interval.
    rates = lowest + (highest - lowest) * (torch.arange(_NUM_RATES) + 0.5) / _NUM_RATES
    # One bisection finds the shifts of all rates; row i of the batch has the rates i, i + B, ...
    shifted = shifted_to_rate(
        logits.repeat(_NUM_RATES, 1),
        token_mask.repeat(_NUM_RATES, 1),
        rates.to(logits).repeat_interleave(len(logits)),
    )
    return torch.sigmoid(shifted).view(_NUM_RATES, *logits.shape).mean(0)


def mask_embeddings(embeddings: Tensor, keypoint_mask: Tensor, mask_vector: Tensor) -> Tensor:
    """Mix embeddings e of tokens with a vector v that stands for masked tokens: m e + (1 - m) v.

    Args:
        embeddings: [B, L, d], token embeddings e.
        keypoint_mask: [B, L], m from 0 (masks a token) to 1 (keeps a token).
        mask_vector: [d], v.

    Returns:
        [B, L, d], a new tensor with gradients to all three arguments.
    """
    kept = keypoint_mask.unsqueeze(-1)
    return kept * embeddings + (1 - kept) * mask_vector


def mean_token_weight(logits: Tensor, token_mask: Tensor) -> Tensor:
    """Return the expected fraction of kept tokens of each rationale: Eq. 6 divided by the length.

    The expectation has the mean of a sampled mask's fraction, and no sampling variance.

    Args:
        logits: [B, L], logits of the token weights.
        token_mask: [B, L], bool or number, 1 at rationale tokens, 0 at padding.

    Returns:
        [B], from 0 to 1, with gradients to the logits; 0 for a rationale without tokens.
    """
    token_weights = torch.sigmoid(logits) * token_mask
    return token_weights.sum(-1) / token_mask.sum(-1).clamp_min(1)


def keypoint_loss(answer_nll: Tensor, kept_fraction: Tensor, mask_ratio_weight: float) -> Tensor:
    """Return the loss of Eq. 7 summed over the rationales: sum(answer_nll + alpha * kept_fraction).

    Eq. 5 and 6 are sums over the N prefixes and the N tokens of a rationale. Both terms are divided by N
    here, so alpha weighs the terms as in the paper. The result is a scalar in nats with gradients.

    Args:
        answer_nll: [B], negative log-likelihood in nats of each rationale's answer after a masked
            prefix: a mean over prefixes, or the value of one drawn prefix.
        kept_fraction: [B], fraction of kept tokens, such as `mean_token_weight`.
        mask_ratio_weight: alpha of Eq. 7.
    """
    return (answer_nll + mask_ratio_weight * kept_fraction).sum()


def _lengths(token_mask: Tensor) -> Tensor:
    """Return the number of tokens of each rationale, [B, 1]; 1 for a rationale without tokens."""
    return token_mask.sum(-1, keepdim=True).clamp_min(1)
