"""The keypoint mask and the loss of the token weighter (Eq. 3 to 7).

The mask is multiplied into token embeddings. Replacing token ids instead would cut the gradient from
the answer loss to the token weights; only the mask-ratio penalty would remain, which drives all token
weights to 0.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gumbel_noise(uniform: Tensor) -> Tensor:
    """Return logistic noise, the difference of two Gumbel variables, from uniform numbers.

    Args:
        uniform: Tensor u of any shape, float32 or float64, numbers from 0 to 1, both included. In types
            of 16 bits, 1 - 1e-6 is rounded to 1, whose noise is infinite.

    Returns:
        Tensor of the same shape and type: log(u / (1 - u)), with u limited to 1e-6 and 1 - 1e-6.
    """
    clipped = uniform.clamp(1e-6, 1 - 1e-6)  # the logarithms of 0 would be infinite
    return torch.log(clipped) - torch.log1p(-clipped)


def annealed_temperature(
    train_step: int, num_train_steps: int, first: float, last: float | None
) -> float:
    """Return the Gumbel temperature of a train step, annealed geometrically.

    Args:
        train_step: Train step, counted from 0.
        num_train_steps: Planned number of train steps.
        first: Temperature of train step 0, > 0, also if only one train step is planned.
        last: Temperature of the last of several planned train steps and of any later one, > 0. None
            keeps the temperature at ``first``.

    Returns:
        The temperature, > 0. The ratio of the temperatures of two successive planned train steps is
        constant.
    """
    if last is None:
        return first
    progress = min(1.0, train_step / max(1, num_train_steps - 1))
    return first ** (1 - progress) * last**progress


def relaxed_mask(logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """Return the relaxed keypoint mask: the Gumbel-softmax of [log(1 - w), log w], w = sigmoid(logits).

    Args:
        logits: [B, L], logits of the token weights.
        noise: [B, L], from `gumbel_noise`, on the device of the logits.
        temperature: > 0; the mask becomes binary as the temperature goes to 0.

    Returns:
        [B, L], from 0 to 1 (rounding can reach both); 1 keeps a token, 0 masks a token. Gradients flow
        to the logits.
    """
    # A softmax over two classes is the sigmoid of the difference of their logits.
    return torch.sigmoid((logits + noise) / temperature)


def straight_through_mask(logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """Return a binary keypoint mask (Eq. 4) with the gradient of `relaxed_mask`.

    Args:
        logits: [B, L], logits of the token weights.
        noise: [B, L], from `gumbel_noise`, in the type and on the device of the logits.
        temperature: > 0, temperature of the relaxed mask.

    Returns:
        [B, L], 1 (keeps a token) where the relaxed mask is above 0.5, else 0; in the type of the logits.
    """
    relaxed = relaxed_mask(logits, noise, temperature)
    rounded = (relaxed > 0.5).to(relaxed.dtype)
    # The brackets matter: the difference is exactly 0, so the sum is exactly 0 or 1.
    return rounded + (relaxed - relaxed.detach())


def mask_embeddings(embeddings: Tensor, keypoint_mask: Tensor, mask_vector: Tensor) -> Tensor:
    """Replace the embeddings e of masked tokens by a learned vector v: m e + (1 - m) v.

    Args:
        embeddings: [B, L, d], token embeddings.
        keypoint_mask: [B, L], m in 0 to 1; 1 keeps a token, 0 masks a token.
        mask_vector: [d], the learned vector.

    Returns:
        [B, L, d], a new tensor with gradients to all three arguments.
    """
    kept = keypoint_mask.unsqueeze(-1)
    return kept * embeddings + (1 - kept) * mask_vector


def mean_token_weight(logits: Tensor, token_mask: Tensor) -> Tensor:
    """Return the expected fraction of kept tokens of each rationale: Eq. 6 divided by the length.

    The expectation takes the place of the fraction of a sampled mask, because the expectation has the
    same mean and no sampling variance.

    Args:
        logits: [B, L], logits of the token weights.
        token_mask: [B, L], 1 at rationale tokens, 0 at padding, on the device of the logits.

    Returns:
        [B], from 0 to 1, with gradients to the logits; 0 for a rationale without tokens.
    """
    token_weights = torch.sigmoid(logits) * token_mask
    return token_weights.sum(-1) / token_mask.sum(-1).clamp_min(1)


def keypoint_loss(answer_nll: Tensor, kept_fraction: Tensor, mask_ratio_weight: float) -> Tensor:
    """Return the loss of Eq. 7, each rationale divided by its length and summed over the rationales.

    The loss of a rationale is the answer loss plus alpha times the fraction of kept tokens. For a
    rationale of N tokens, Eq. 5 is a sum over N prefixes and Eq. 6 a sum over N tokens. One prefix
    drawn uniformly estimates Eq. 5 divided by N, and the fraction of kept tokens is Eq. 6 divided by
    N. So alpha weighs the two terms as in the paper.

    Args:
        answer_nll: [B], negative log-likelihood of the answer after one masked prefix, in nats.
        kept_fraction: [B], fraction of kept tokens, such as `mean_token_weight`.
        mask_ratio_weight: alpha of Eq. 7.

    Returns:
        Scalar in nats, the sum over the batch, with gradients to both tensors.
    """
    return (answer_nll + mask_ratio_weight * kept_fraction).sum()
