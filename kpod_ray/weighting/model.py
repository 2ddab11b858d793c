"""The token weighter (Eq. 2, 3) and its training loss (Eq. 4 to 7).

The weighter reads only the rationale, in the student's tokens. During its training, the answer predictor
reads the question and a prefix of the masked rationale and predicts the answer. The weighter learns from
the rise of the predictor's loss when keypoints are masked.
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
"""Largest number of sequences whose activations are kept at the same time; a batch has more sequences
only with ``weighting.prefixes: all``."""


class TokenWeighter(nn.Module):
    """Computes token weights w = sigmoid(f_w(Att(Emb(r)))) of rationales r (Eq. 2, 3).

    Emb is a frozen copy of the student's input embeddings, Att a self-attention layer with a residual
    connection, f_w a two-layer MLP with random initial values from torch's global generator.

    Args:
        embeddings: input embeddings of the student, [V, d], float32, on the CPU, which are copied.
        num_heads: number of attention heads, at least 1.

    Raises:
        KpodError: The number of heads doesn't divide d.
    """

    def __init__(self, embeddings: Tensor, num_heads: int) -> None:
        super().__init__()
        width = embeddings.shape[1]
        if width % num_heads:
            raise KpodError(f"weighting.num_heads: {num_heads} does not divide the width {width}")
        # A buffer that isn't persistent stays out of ``weighter.safetensors``: the student has it.
        self.register_buffer("embeddings", embeddings.detach().clone(), persistent=False)
        self.scale = float(embeddings.detach().square().mean().sqrt())
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.norm = nn.RMSNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, 1))
        last = self.mlp[2]
        assert isinstance(last, nn.Linear)
        with (
            torch.no_grad()
        ):  # initial weights near sigmoid(1) = 0.73, so that few tokens are masked
            last.weight.mul_(0.1)
            last.bias.fill_(1.0)

    def forward(self, rationale_ids: Tensor, rationale_mask: Tensor) -> Tensor:
        """Return the logits of the token weights, [B, R]; the values at padding are undefined.

        The token weights of Eq. 3 are the sigmoids of the logits. The embeddings get no gradient.

        Args:
            rationale_ids: [B, R], int64, token ids of the student, on the weighter's device.
            rationale_mask: [B, R] bool, False at padding; a row without True has NaN logits.
        """
        logits: Tensor = self.mlp(self.norm(self._attend(rationale_ids, rationale_mask))).squeeze(
            -1
        )
        return logits

    def attended(self, rationale_ids: Tensor, rationale_mask: Tensor) -> Tensor:
        """Return Att(Emb(r)) of Eq. 2, with gradients, [B, R, d]; values at padding are undefined.

        The attention layer reads embeddings normalized to root mean square 1. The result is multiplied
        by the root mean square of the student's embeddings. The arguments are those of `forward`.
        """
        return self.scale * self._attend(rationale_ids, rationale_mask)

    def _attend(self, rationale_ids: Tensor, rationale_mask: Tensor) -> Tensor:
        assert isinstance(self.embeddings, Tensor)
        # The embeddings of language models differ in scale by orders of magnitude, so each is
        # normalized.
        embedded = nn.functional.rms_norm(
            self.embeddings[rationale_ids], self.norm.normalized_shape
        )
        attended, _ = self.attention(
            embedded, embedded, embedded, key_padding_mask=~rationale_mask, need_weights=False
        )
        return embedded + attended


class KeypointLoss(nn.Module):
    """The training loss of the weighter for a batch (Eq. 7).

    The class keeps weighter and predictor themselves, which are on one device. The caller freezes the
    predictor (``requires_grad_(False)``) before the first train step of the weighter.

    Args:
        weighter: the weighter in training.
        predictor: the answer predictor.
        config: settings of the weighter.
    """

    def __init__(
        self, weighter: TokenWeighter, predictor: AnswerPredictor, config: LearnedWeighting
    ) -> None:
        super().__init__()
        self.weighter = weighter
        self.predictor = predictor
        self.config = config
        self.draw_mask = (
            straight_through_mask if config.mask == "straight_through" else relaxed_mask
        )

    def forward(
        self, batch: MaskedBatch, uniform: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the loss of a batch of B rationales, all on the device of the models.

        Args:
            batch: rationales and sequences.
            uniform: [B, R], float32, uniform noise in [0, 1]; all prefixes of a rationale share one
                mask.
            temperature: temperature of the Gumbel mask, above 0.

        Returns:
            The loss of Eq. 7 summed over the rationales, a scalar in nats with gradients to the weighter
            (and to a predictor that isn't frozen); and without gradients, for each rationale, the answer
            loss [B], in nats, and the mean token weight [B], in [0, 1].
        """
        logits = self.weighter(batch.rationale_ids, batch.rationale_mask)
        keypoint_mask = self.draw_mask(logits, gumbel_noise(uniform), temperature)
        answer_nll = mean_answer_nll(self.predictor, batch, keypoint_mask, self.attended(batch))
        kept_fraction = mean_token_weight(logits, batch.rationale_mask)
        total = keypoint_loss(answer_nll, kept_fraction, self.config.mask_ratio_weight)
        return total, answer_nll.detach(), kept_fraction.detach()

    def attended(self, batch: MaskedBatch) -> Tensor | None:
        """Return `TokenWeighter.attended` of the batch's rationales, which replaces their embeddings.

        The result is None with ``mask_position: before_attention``: the predictor then reads the
        embeddings.
        """
        if self.config.mask_position == "before_attention":
            return None
        return self.weighter.attended(batch.rationale_ids, batch.rationale_mask)


def mean_answer_nll(
    predictor: AnswerPredictor, batch: MaskedBatch, keypoint_mask: Tensor, attended: Tensor | None
) -> Tensor:
    """Return the mean answer loss of each rationale over its prefixes in the batch, [B], in nats.

    The loss of a prefix is the negative log-likelihood of the whole answer (Eq. 5); the mean is weighted
    by the shares of the sequences. The result, float32, has gradients to the mask, to ``attended`` and
    to the predictor's trainable parameters. The backward pass recomputes the forward pass if there are
    more than `CHUNK` sequences.

    Args:
        predictor: the answer predictor.
        batch: B rationales and their sequences, on the predictor's device, as are the other tensors.
        keypoint_mask: [B, R], float32, from 0 (masks a token) to 1 (keeps a token).
        attended: [B, R, width of the student], replaces the rationales' embeddings, unless None.
    """
    sequences = batch.sequences
    rows = batch.sequences.rationale_rows

    def answer_nll(start: int) -> Tensor:
        """Return the answer losses of a chunk of sequences that begins at ``start``."""
        part: MaskedSequences = sequences.part(start, start + CHUNK)
        mask = keypoint_mask[part.rationale_rows]
        return predictor(part, mask, None if attended is None else attended[part.rationale_rows])

    if len(rows) <= CHUNK:
        nll = answer_nll(0)
    else:
        # The activations of all prefixes wouldn't fit in memory: the backward pass recomputes each
        # chunk.
        starts = range(0, len(rows), CHUNK)
        nll = torch.cat([checkpoint(answer_nll, start, use_reentrant=False) for start in starts])
    zeros = torch.zeros(len(keypoint_mask), device=nll.device)
    return zeros.index_add(0, rows, nll * sequences.shares)


def build_weighter(language_model: Any, num_heads: int | None) -> TokenWeighter:
    """Return an untrained weighter, on the CPU, with a copy of a language model's input embeddings.

    The language model is in float32 and on the CPU. None as ``num_heads`` takes the language model's
    number of attention heads. The other initial values come from torch's global generator.

    Raises:
        KpodError: The number of heads doesn't divide the width of the embeddings.
    """
    table = language_model.get_input_embeddings().weight
    return TokenWeighter(table, num_heads or language_model.config.num_attention_heads)
