"""The student: a causal language model with the weighted loss on top of its last hidden states."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from kpod_ray.algorithm.loss import weighted_nll
from kpod_ray.data.batching import Batch
from kpod_ray.errors import KpodError

transformers_logging.disable_progress_bar()


@dataclasses.dataclass(frozen=True)
class LossParts:
    """The loss of a batch: sums in nats."""

    total: Tensor
    """Weighted sum over all loss tokens, with gradients (Eq. 15 plus the answer's loss)."""
    token_nll: Tensor
    """[N], unweighted loss of each token, no gradients."""


class Student(nn.Module):
    """Wraps a causal language model; its forward pass is the loss of a batch."""

    def __init__(self, language_model: Any, compute_dtype: torch.dtype) -> None:
        super().__init__()
        self.language_model = language_model
        self.compute_dtype = compute_dtype

    def forward(self, batch: Batch) -> LossParts:
        """Return the loss; only positions in the loss reach the output head."""
        device = batch.input_ids.device.type
        is_mixed = self.compute_dtype != torch.float32
        with torch.autocast(device, dtype=self.compute_dtype, enabled=is_mixed):
            hidden = self.language_model.base_model(
                input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
            ).last_hidden_state
        picked = hidden[batch.rows, batch.columns].to(self.compute_dtype)
        head = self.language_model.get_output_embeddings().weight
        total, token_nll = weighted_nll(picked, head, batch.labels, batch.token_weights)
        return LossParts(total, token_nll)


def load_tokenizer(folder: str) -> Any:
    """Load a tokenizer that knows character offsets.

    Raises:
        KpodError: It has no offsets, or no end-of-sequence token.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if not tokenizer.is_fast:
        raise KpodError(
            f"model {folder}: its tokenizer gives no character offsets (no fast version)"
        )
    if tokenizer.eos_token_id is None:
        raise KpodError(f"model {folder}: its tokenizer has no end-of-sequence token")
    return tokenizer


def load_student(folder: str, compute_dtype: torch.dtype) -> Student:
    """Load a causal language model with fp32 parameters and no dropout surprises.

    Raises:
        KpodError: Its logits are more than a product with the output head.
    """
    language_model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    head = language_model.get_output_embeddings()
    if head is None or getattr(head, "bias", None) is not None:
        raise KpodError(f"model {folder}: an output head without bias is expected")
    if getattr(language_model.config, "final_logit_softcapping", None):
        raise KpodError(f"model {folder}: soft-capped logits are not supported")
    if not _has_plain_logits(language_model):
        raise KpodError(f"model {folder}: scaled logits are not supported")
    return Student(language_model, compute_dtype)


@torch.no_grad()
def _has_plain_logits(language_model: Any) -> bool:
    """Tell, from two tokens, whether the logits are the output head times the last hidden states."""
    ids = torch.tensor([[0, 1]])
    logits = language_model(input_ids=ids, use_cache=False).logits
    hidden = language_model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    product = hidden @ language_model.get_output_embeddings().weight.T
    return torch.allclose(logits, product, rtol=1e-2, atol=1e-3 * float(product.abs().max()))


def pad_id(tokenizer: Any) -> int:
    """Return an id to pad with; padding is told by the attention mask, so any id will do."""
    chosen = tokenizer.pad_token_id
    return int(tokenizer.eos_token_id if chosen is None else chosen)
