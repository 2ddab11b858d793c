"""What a train step tells about its loss: sums first, so that workers' parts add up."""

from __future__ import annotations

import torch
from torch import Tensor

from kpod_ray.data.batching import Batch
from kpod_ray.models.student import LossParts

NUM_SUMS = 6


def loss_sums(batch: Batch, parts: LossParts) -> Tensor:
    """Return the sums of one batch, [6] on the CPU; a batch without any weight counts nothing.

    Weighted loss; count, nll and total weight of rationale tokens; count and nll of answer tokens.
    """
    if not batch.token_weights.any():
        return torch.zeros(NUM_SUMS)
    inside = batch.in_rationale
    sums = [
        parts.total.detach(),
        inside.sum(),
        parts.token_nll[inside].sum(),
        batch.token_weights[inside].sum(),
        (~inside).sum(),
        parts.token_nll[~inside].sum(),
    ]
    return torch.stack([value.float().cpu() for value in sums])


def step_metrics(sums: Tensor, denominator: float) -> dict[str, float]:
    """Turn the sums of a whole train step into its metrics; losses are in nats.

    Args:
        sums: [6], from `loss_sums`, added over micro-batches and workers.
        denominator: what the weighted loss is divided by.
    """
    loss, rationale_tokens, rationale_nll, weight, answer_tokens, answer_nll = sums.tolist()
    return {
        "loss": loss / denominator,
        "rationale_loss": rationale_nll / max(1.0, rationale_tokens),
        "answer_loss": answer_nll / max(1.0, answer_tokens),
        "token_weight_mean": weight / max(1.0, rationale_tokens),
        "loss_tokens": rationale_tokens + answer_tokens,
    }
