"""The token weighter (Eq. 2, 3) and the masked answer predictor it is trained with (Eq. 4, 5).

Both read token ids of the predictor's tokenizer. The weighter sees the rationale alone; the predictor
reads the question, a prefix of the masked rationale and the closing words, and predicts the answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model
from torch import Tensor, nn

from kpod_ray.algorithm.masking import (
    gumbel_noise,
    keypoint_loss,
    mask_embeddings,
    mean_token_weight,
    relaxed_mask,
    straight_through_mask,
)
from kpod_ray.config import WeigherConfig
from kpod_ray.data.masked import WeigherBatch
from kpod_ray.errors import KpodError


class TokenWeighter(nn.Module):
    """w = sigmoid(f_w(Att(Emb(r)))): self-attention over frozen embeddings, then a two-layer MLP."""

    def __init__(self, embeddings: Tensor, num_heads: int) -> None:
        super().__init__()
        width = embeddings.shape[1]
        if width % num_heads:
            raise KpodError(f"weigher.num_heads: {num_heads} does not divide the width {width}")
        self.register_buffer("embeddings", embeddings.detach().clone(), persistent=False)
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
        assert isinstance(self.embeddings, Tensor)
        # Unit scale: language models differ in the scale of their embeddings by orders of magnitude.
        embedded = nn.functional.rms_norm(
            self.embeddings[rationale_ids], self.norm.normalized_shape
        )
        attended, _ = self.attention(
            embedded, embedded, embedded, key_padding_mask=~rationale_mask, need_weights=False
        )
        logits: Tensor = self.mlp(self.norm(embedded + attended)).squeeze(-1)
        return logits

    def load(self, path: Path) -> None:
        """Read parameters; the embeddings stay with the model they come from."""
        load_model(self, str(path))


class AnswerPredictor(nn.Module):
    """A causal language model that predicts the answer from a masked rationale prefix."""

    def __init__(self, language_model: Any, compute_dtype: torch.dtype) -> None:
        super().__init__()
        self.language_model = language_model
        self.compute_dtype = compute_dtype
        table = language_model.get_input_embeddings().weight
        self.mask_vector = nn.Parameter(table.detach().mean(0).clone())

    def forward(self, batch: WeigherBatch, keypoint_mask: Tensor) -> Tensor:
        """Return the answer's negative log-likelihood for each example, [B], in nats (Eq. 5).

        Args:
            batch: rationales and sequences.
            keypoint_mask: [B, R], 1 = kept; only its first k entries of each row have an effect.
        """
        embedded = self.language_model.get_input_embeddings()(batch.input_ids)
        kept = _mask_in_sequence(batch, keypoint_mask)
        masked = mask_embeddings(embedded, kept, self.mask_vector)
        device = masked.device.type
        is_mixed = self.compute_dtype != torch.float32
        with torch.autocast(device, dtype=self.compute_dtype, enabled=is_mixed):
            hidden = self.language_model.base_model(
                inputs_embeds=masked, attention_mask=batch.attention_mask, use_cache=False
            ).last_hidden_state
        picked = hidden[batch.answer_rows, batch.answer_columns].float()
        head = self.language_model.get_output_embeddings().weight
        logits = picked @ head.T
        nll = nn.functional.cross_entropy(logits, batch.answer_labels, reduction="none")
        return torch.zeros(len(kept), device=nll.device).index_add(0, batch.answer_rows, nll)


def _mask_in_sequence(batch: WeigherBatch, keypoint_mask: Tensor) -> Tensor:
    """Place each row's mask at its rationale prefix; everything else is kept."""
    columns = torch.arange(batch.input_ids.shape[1], device=keypoint_mask.device)
    offsets = columns[None] - batch.prefix_starts[:, None]
    in_prefix = (offsets >= 0) & (offsets < batch.prefix_lengths[:, None])
    placed = keypoint_mask.gather(1, offsets.clamp(0, keypoint_mask.shape[1] - 1))
    return torch.where(in_prefix, placed, torch.ones_like(placed))


class KeypointLoss(nn.Module):
    """Eq. 7 for a batch: the weighter learns, the predictor is frozen."""

    def __init__(
        self, weighter: TokenWeighter, predictor: AnswerPredictor, config: WeigherConfig
    ) -> None:
        super().__init__()
        self.weighter, self.predictor, self.config = weighter, predictor, config
        self.draw_mask = (
            straight_through_mask if config.mask == "straight_through" else relaxed_mask
        )

    def forward(self, batch: WeigherBatch, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the summed loss, and its parts for each example: answer loss and kept share.

        Args:
            batch: rationales and sequences.
            uniform: [B, R], uniform noise in (0, 1).
        """
        logits = self.weighter(batch.rationale_ids, batch.rationale_mask)
        mask = self.draw_mask(logits, gumbel_noise(uniform), self.config.temperature)
        answer_nll = self.predictor(batch, mask)
        kept_share = mean_token_weight(logits, batch.rationale_mask)
        total = keypoint_loss(answer_nll, kept_share, self.config.mask_ratio_weight)
        return total, answer_nll.detach(), kept_share.detach()


def build_weighter(language_model: Any, num_heads: int | None) -> TokenWeighter:
    """Return a fresh weighter over a language model's input embeddings."""
    table = language_model.get_input_embeddings().weight
    return TokenWeighter(table, num_heads or language_model.config.num_attention_heads)
