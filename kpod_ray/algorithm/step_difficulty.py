"""The difficulty of reasoning steps (Eq. 8)."""

from __future__ import annotations

import torch
from torch import Tensor


def step_difficulties(
    token_nll: Tensor, token_weights: Tensor, token_steps: Tensor, num_steps: int
) -> Tensor:
    """Return the difficulty in nats of each reasoning step of one rationale, [S] float32.

    KPOD Eq. 8: d_k = -sum_{j in step k} w^_j log P(r_j | r_<j, x), where w^ is the softmax of the token
    weights over the tokens of step k. A step without tokens has difficulty 0.

    Args:
        token_nll: [L], negative log-likelihood of each rationale token, in nats.
        token_weights: [L], w of Eq. 3, in [0, 1].
        token_steps: [L], int64, 0-based reasoning step of each token, in any order. The three tensors
            are on one device.
        num_steps: S, number of reasoning steps.

    Raises:
        ValueError: The shapes of the three tensors differ.
        RuntimeError: A step isn't from 0 to S - 1 (checked on a CPU only).
    """
    weighted, norm = step_loss_sums(token_nll, token_weights, token_steps, num_steps)
    # The norm is 0 only for a step without tokens, whose numerator is 0 too.
    return weighted / norm.clamp_min(torch.finfo(torch.float32).tiny)


def step_loss_sums(
    token_nll: Tensor, token_weights: Tensor, token_steps: Tensor, num_steps: int
) -> Tensor:
    """Return the numerator and the denominator of Eq. 8 for each reasoning step, [2, S] float32.

    Row 0 is the sum of exp(w) * nll over a step's tokens, row 1 the sum of exp(w); both are 0 for a step
    without tokens. Sums of several training visits to a rationale can be added before the division.
    Arguments and errors are those of `step_difficulties`.
    """
    if token_nll.shape != token_weights.shape or token_nll.shape != token_steps.shape:
        raise ValueError("token_nll, token_weights and token_steps differ in shape")
    # The softmax needs no shift by the maximum: token weights are in (0, 1), so exp can't overflow.
    exponentials = token_weights.float().exp()
    zeros = torch.zeros(2, num_steps, device=token_nll.device)
    values = torch.stack([exponentials * token_nll.float(), exponentials])
    return zeros.index_add(1, token_steps, values)
