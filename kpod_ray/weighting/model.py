"""The token weighter (Eq. 2, 3), its training loss (Eq. 4 to 7), and the loss of the adaptation.

The weighter reads only the rationale, in the student's tokens. During its training, the answer predictor
reads the question and a prefix of the masked rationale and predicts the answer. The weighter learns from
the rise of the predictor's loss when keypoints are masked. Before, the predictor adapts to masks of the
same distribution, whose logits are random.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kpod_ray.algorithm.keypoint_mask import (
    bounded_logits,
    gumbel_noise,
    keypoint_loss,
    mean_keep_probability,
    mean_token_weight,
    relaxed_mask,
    shifted_to_rate,
    straight_through_mask,
)
from kpod_ray.config import LearnedWeighting
from kpod_ray.errors import KpodError
from kpod_ray.weighting.batches import MaskedBatch, MaskedSequences
from kpod_ray.weighting.predictors import AnswerPredictor
from kpod_ray.weighting.sampler import MaskNoise

RANDOM_LOGIT_SCALE = 1.5
"""Standard deviation of the logits of the random masks to which the predictor adapts."""
_MASKS = {"relaxed": relaxed_mask, "straight_through": straight_through_mask}
CHUNK = 32
"""Largest number of sequences whose activations are kept at the same time; a batch has more sequences
only with ``weighting.prefixes: all``."""


class TokenWeighter(nn.Module):
    """Computes the token weights of rationales r from logits f_w(Att(Emb(r))) (Eq. 2, 3).

    With random keep rates the logits are centred and bounded (`bounded_logits`), and a token weight is
    the probability that a mask keeps the token (`mean_keep_probability`). With the paper's mask-ratio
    penalty a token weight is the sigmoid of the logit.

    Emb is a frozen copy of the student's input embeddings, Att a self-attention layer with a residual
    connection, f_w a two-layer MLP with random initial values from torch's global generator.

    Args:
        embeddings: input embeddings of the student, [V, d], float32, on the CPU, which are copied.
        num_heads: number of attention heads, at least 1.
        has_random_rates: whether masks keep a random rate of the tokens in training.

    Raises:
        KpodError: The number of heads doesn't divide d.
    """

    def __init__(self, embeddings: Tensor, num_heads: int, *, has_random_rates: bool) -> None:
        super().__init__()
        self.has_random_rates = has_random_rates
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

        The embeddings get no gradient.

        Args:
            rationale_ids: [B, R], int64, token ids of the student, on the weighter's device.
            rationale_mask: [B, R] bool, False at padding; a row without True has NaN logits.
        """
        logits: Tensor = self.mlp(self.norm(self._attend(rationale_ids, rationale_mask))).squeeze(
            -1
        )
        return bounded_logits(logits, rationale_mask) if self.has_random_rates else logits

    @torch.no_grad()
    def token_weights(self, rationale_ids: Tensor, rationale_mask: Tensor) -> Tensor:
        """Return the token weights, [B, R], in [0, 1]; the values at padding are undefined.

        The arguments are those of `forward`.
        """
        logits = self(rationale_ids, rationale_mask)
        if self.has_random_rates:
            return mean_keep_probability(logits, rationale_mask)
        return torch.sigmoid(logits)

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


class AdaptationLoss(nn.Module):
    """The loss with which the predictor adapts to masked rationales.

    Args:
        predictor: the answer predictor in training, which isn't copied.
        config: settings of the weighter.
    """

    def __init__(self, predictor: AnswerPredictor, config: LearnedWeighting) -> None:
        super().__init__()
        self.predictor = predictor
        self.draw_mask = _MASKS[config.mask]

    def forward(
        self, batch: MaskedBatch, noise: MaskNoise, temperature: float, attended: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Compute the loss of B rationales with one sequence each, on the predictor's device.

        The logits of the masks are random, and each mask keeps a random rate of the tokens.

        Args:
            batch: rationales and their sequences, in the same order.
            noise: random numbers of the masks.
            temperature: temperature of the Gumbel mask, above 0.
            attended: from `KeypointLoss.attended`, without gradients.

        Returns:
            The loss summed over the rationales, the answer's plus the mean loss of the prefix's tokens
            (`AnswerPredictor.adaptation_losses`), a scalar in nats with gradients to the predictor; and
            the answer losses, [B], without gradients.
        """
        logits = bounded_logits(RANDOM_LOGIT_SCALE * noise.normal, batch.rationale_mask)
        logits = shifted_to_rate(logits, batch.rationale_mask, noise.keep_rates)
        mask = self.draw_mask(logits, gumbel_noise(noise.uniform), temperature)
        answer_nll, rationale_loss = self.predictor.adaptation_losses(
            batch.sequences, mask, attended
        )
        return answer_nll.sum() + rationale_loss, answer_nll.detach()


class KeypointLoss(nn.Module):
    """The training loss of the weighter for a batch.

    With the paper's mask-ratio penalty the loss is that of Eq. 7. With random keep rates it is the
    answer's loss alone, and each mask keeps a random rate of the tokens.

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
        self.draw_mask = _MASKS[config.mask]

    def forward(
        self, batch: MaskedBatch, noise: MaskNoise, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the loss of a batch of B rationales, all on the device of the models.

        Args:
            batch: rationales and sequences.
            noise: random numbers of the masks; all prefixes of a rationale share one mask.
            temperature: temperature of the Gumbel mask, above 0.

        Returns:
            The loss summed over the rationales, a scalar in nats with gradients to the weighter (and to
            a predictor that isn't frozen); and without gradients, for each rationale, the answer loss
            [B], in nats, and the expected fraction of kept tokens [B], in [0, 1].
        """
        logits = self.weighter(batch.rationale_ids, batch.rationale_mask)
        penalty = self.config.mask_ratio_weight
        if penalty is None:
            logits = shifted_to_rate(logits, batch.rationale_mask, noise.keep_rates)
            penalty = 0.0
        mask = self.draw_mask(logits, gumbel_noise(noise.uniform), temperature)
        answer_nll = mean_answer_nll(self.predictor, batch, mask, self.attended(batch))
        kept_fraction = mean_token_weight(logits, batch.rationale_mask)
        total = keypoint_loss(answer_nll, kept_fraction, penalty)
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


def build_weighter(language_model: Any, weighting: LearnedWeighting) -> TokenWeighter:
    """Return an untrained weighter, on the CPU, with a copy of a language model's input embeddings.

    The language model is in float32 and on the CPU. Without ``weighting.num_heads`` the weighter has as
    many attention heads as the language model. The other initial values come from torch's global
    generator.

    Raises:
        KpodError: The number of heads doesn't divide the width of the embeddings.
    """
    return TokenWeighter(
        language_model.get_input_embeddings().weight,
        weighting.num_heads or language_model.config.num_attention_heads,
        has_random_rates=weighting.mask_ratio_weight is None,
    )
