"""The token weighter (Eq. 2, 3) and the loss it is trained with (Eq. 4 to 7).

The weighter sees the rationale alone, in the student's tokens; the predictor it is trained against
reads the question and a prefix of the masked rationale, and predicts the answer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kpod_ray.algorithm.keypoint_mask import (
    gumbel_noise,
    keypoint_loss,
    mean_token_weight,
    relaxed_mask,
    straight_through_mask,
)
from kpod_ray.config import LearnedWeighting
from kpod_ray.errors import KpodError
from kpod_ray.weighting.batches import MaskedBatch, MaskedSequences
from kpod_ray.weighting.predictors import AnswerPredictor

CHUNK = 32
"""Sequences whose activations are held at a time; only all prefixes of a batch are more."""


class TokenWeighter(nn.Module):
    """w = sigmoid(f_w(Att(Emb(r)))): self-attention over frozen embeddings, then a two-layer MLP."""

    def __init__(self, embeddings: Tensor, num_heads: int) -> None:
        super().__init__()
        width = embeddings.shape[1]
        if width % num_heads:
            raise KpodError(f"weighting.num_heads: {num_heads} does not divide the width {width}")
        self.register_buffer("embeddings", embeddings.detach().clone(), persistent=False)
        self.scale = float(embeddings.detach().square().mean().sqrt())
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.norm = nn.RMSNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, 1))
        last = self.mlp[2]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():  # masking starts rare: all weights near sigmoid(1)
            last.weight.mul_(0.1)
            last.bias.fill_(1.0)

    def forward(self, rationale_ids: Tensor, rationale_mask: Tensor) -> Tensor:
        """Return the logits of the token weights, [B, R]; those of padding mean nothing."""
        logits: Tensor = self.mlp(self.norm(self._attend(rationale_ids, rationale_mask))).squeeze(
            -1
        )
        return logits

    def attended(self, rationale_ids: Tensor, rationale_mask: Tensor) -> Tensor:
        """Return Att(Emb(r)) of Eq. 2 at the scale of the embeddings, [B, R, d]."""
        return self.scale * self._attend(rationale_ids, rationale_mask)

    def _attend(self, rationale_ids: Tensor, rationale_mask: Tensor) -> Tensor:
        assert isinstance(self.embeddings, Tensor)
        # Unit scale: language models differ in the scale of their embeddings by orders of magnitude.
        embedded = nn.functional.rms_norm(
            self.embeddings[rationale_ids], self.norm.normalized_shape
        )
        attended, _ = self.attention(
            embedded, embedded, embedded, key_padding_mask=~rationale_mask, need_weights=False
        )
        return embedded + attended


class KeypointLoss(nn.Module):
    """Eq. 7 for a batch: the weighter learns, the predictor is frozen."""

    def __init__(
        self, weighter: TokenWeighter, predictor: AnswerPredictor, config: LearnedWeighting
    ) -> None:
        super().__init__()
        self.weighter, self.predictor, self.config = weighter, predictor, config
        self.draw_mask = (
            straight_through_mask if config.mask == "straight_through" else relaxed_mask
        )

    def forward(
        self, batch: MaskedBatch, uniform: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the summed loss, and its parts for each example: answer loss and kept share.

        Args:
            batch: rationales and sequences.
            uniform: [B, R], uniform noise in (0, 1); one mask serves all prefixes of a rationale.
            temperature: of the Gumbel mask.
        """
        logits = self.weighter(batch.rationale_ids, batch.rationale_mask)
        keypoint_mask = self.draw_mask(logits, gumbel_noise(uniform), temperature)
        answer_nll = mean_answer_nll(self.predictor, batch, keypoint_mask, self.attended(batch))
        kept_fraction = mean_token_weight(logits, batch.rationale_mask)
        total = keypoint_loss(answer_nll, kept_fraction, self.config.mask_ratio_weight)
        return total, answer_nll.detach(), kept_fraction.detach()

    def attended(self, batch: MaskedBatch) -> Tensor | None:
        """Return what the predictor reads in place of the rationale's embeddings, [B, R, d] or None."""
        if self.config.mask_position == "before_attention":
            return None
        return self.weighter.attended(batch.rationale_ids, batch.rationale_mask)


def mean_answer_nll(
    predictor: AnswerPredictor, batch: MaskedBatch, keypoint_mask: Tensor, attended: Tensor | None
) -> Tensor:
    """Return each rationale's answer loss, [B]: the mean over its prefixes in the batch, in nats.

    Args:
        predictor: predicts the answer.
        batch: rationales and sequences.
        keypoint_mask: [B, R], 1 = kept.
        attended: [B, R, d], read in place of the rationale's embeddings, or None.
    """
    sequences, rows = batch.sequences, batch.sequences.rationale_rows

    def answer_nll(start: int) -> Tensor:
        """Return the answer losses of a chunk of the prefixes, from ``start`` on."""
        part: MaskedSequences = sequences.part(start, start + CHUNK)
        mask = keypoint_mask[part.rationale_rows]
        return predictor(part, mask, None if attended is None else attended[part.rationale_rows])

    if len(rows) <= CHUNK:
        nll = answer_nll(0)
    else:  # all prefixes of a batch would not fit in memory: their activations are computed twice
        starts = range(0, len(rows), CHUNK)
        nll = torch.cat([checkpoint(answer_nll, start, use_reentrant=False) for start in starts])
    zeros = torch.zeros(len(keypoint_mask), device=nll.device)
    return zeros.index_add(0, rows, nll * sequences.shares)


def build_weighter(language_model: Any, num_heads: int | None) -> TokenWeighter:
    """Return a fresh weighter over a language model's input embeddings."""
    table = language_model.get_input_embeddings().weight
    return TokenWeighter(table, num_heads or language_model.config.num_attention_heads)
