"""The keypoint mask of the token weighter (Eq. 3 to 7).

The mask acts on embeddings, never on token ids: replacing ids would cut the gradient to the token
weights and leave only the mask-ratio penalty, which drives all of them to 0.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gumbel_noise(uniform: Tensor) -> Tensor:
    """Turn uniform numbers in (0, 1) into the difference of two Gumbel variables (logistic noise)."""
    clipped = uniform.clamp(1e-6, 1 - 1e-6)
    return torch.log(clipped) - torch.log1p(-clipped)


def annealed_temperature(
    train_step: int, num_train_steps: int, first: float, last: float | None
) -> float:
    """Return the Gumbel temperature of a train step, from ``first`` to ``last`` by equal factors.

    Args:
        train_step: counted from 0.
        num_train_steps: as many as are planned; the last one has the last temperature.
        first: > 0.
        last: > 0; None keeps the first.
    """
    if last is None:
        return first
    progress = min(1.0, train_step / max(1, num_train_steps - 1))
    return first ** (1 - progress) * last**progress


def relaxed_mask(logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """Return the two-class Gumbel-softmax of [log(1 - w), log w], w = sigmoid(logits).

    Args:
        logits: [B, L], logits of the token weights.
        noise: [B, L], from `gumbel_noise`.
        temperature: > 0; near 0 the mask is binary.

    Returns:
        [B, L] in (0, 1), 1 = kept.
    """
    return torch.sigmoid((logits + noise) / temperature)


def straight_through_mask(logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """Return a binary keypoint mask (Eq. 4) whose gradient is that of `relaxed_mask`."""
    relaxed = relaxed_mask(logits, noise, temperature)
    rounded = (relaxed > 0.5).to(relaxed.dtype)
    return rounded + (relaxed - relaxed.detach())  # in this order it is exactly 0 or 1


def mask_embeddings(embeddings: Tensor, keypoint_mask: Tensor, mask_vector: Tensor) -> Tensor:
    """Replace masked tokens by a learned vector: m e + (1 - m) v.

    Args:
        embeddings: [B, L, d].
        keypoint_mask: [B, L], 1 = kept, 0 = masked.
        mask_vector: [d].
    """
    kept = keypoint_mask.unsqueeze(-1)
    return kept * embeddings + (1 - kept) * mask_vector


def mean_token_weight(logits: Tensor, token_mask: Tensor) -> Tensor:
    """Return the expected share of kept tokens of each rationale, Eq. 6 divided by its length.

    Args:
        logits: [B, L], logits of the token weights.
        token_mask: [B, L], 1 where a rationale token exists.

    Returns:
        [B], in (0, 1). It is the mean of the sampled mask ratio, without the sampling's variance.
    """
    token_weights = torch.sigmoid(logits) * token_mask
    return token_weights.sum(-1) / token_mask.sum(-1).clamp_min(1)


def keypoint_loss(answer_nll: Tensor, kept_fraction: Tensor, mask_ratio_weight: float) -> Tensor:
    """Sum Eq. 7 divided by the rationale's length: answer loss + alpha * share of kept tokens.

    Eq. 5 sums over all prefixes and Eq. 6 over all tokens, both N of them. With one prefix drawn
    uniformly for each rationale and the share instead of the sum, alpha keeps its meaning.

    Args:
        answer_nll: [B], negative log-likelihood of the answer after one masked prefix, in nats.
        kept_fraction: [B].
        mask_ratio_weight: alpha of Eq. 7.

    Returns:
        Scalar, a sum over the rationales.
    """
    return (answer_nll + mask_ratio_weight * kept_fraction).sum()
