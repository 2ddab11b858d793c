"""The student: a language model of either family, whose forward pass is the loss of a batch.

A causal student reads question, given steps and what it has written in one sequence. An
encoder-decoder student has question and given steps in its encoder, and writes with its decoder.
`load_student` tells them apart once; from then on both are used alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from kpod_ray.algorithm.loss import weighted_nll
from kpod_ray.data.batches import Batch, collate, collate_packed
from kpod_ray.data.examples import Example
from kpod_ray.errors import KpodError
from kpod_ray.kernels.recomputed_layers import output_head
from kpod_ray.models.pair_batches import PairBatch, collate_pairs
from kpod_ray.models.sources import model_folder

transformers_logging.disable_progress_bar()
TokenLoss = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Hidden states, output head, labels and token weights to `LossParts`."""


@dataclasses.dataclass(frozen=True)
class LossParts:
    """The loss of a batch: sums in nats."""

    total: Tensor
    """Weighted sum over all loss tokens, with gradients (Eq. 15 plus the answer's loss)."""
    token_nll: Tensor
    """[N], unweighted loss of each token, no gradients."""
    is_top: Tensor
    """[N], whether each token is the one that the student finds likeliest."""


class CausalStudent(nn.Module):
    """Wraps a causal language model."""

    def __init__(
        self, language_model: Any, compute_dtype: torch.dtype, token_loss: TokenLoss
    ) -> None:
        super().__init__()
        self.language_model = language_model
        self.compute_dtype = compute_dtype
        self.token_loss = token_loss
        self.is_packing = False

    def collate(
        self, examples: Sequence[Example], num_given_steps: Sequence[int], pad_id: int
    ) -> Batch:
        """Return the batch in which each example's given steps are part of what is read."""
        if self.is_packing:  # see `models.packing`
            return collate_packed(examples, num_given_steps)
        return collate(examples, num_given_steps, pad_id)

    def forward(self, batch: Batch) -> LossParts:
        """Return the loss; only positions in the loss reach the output head."""
        return _loss(self, self.predicting_states(batch), batch)

    def predicting_states(self, batch: Batch) -> Tensor:
        """Return what goes into the output head for each label, [N, d]."""
        with _arithmetic(batch, self.compute_dtype):
            hidden = self.language_model.base_model(
                **batch.model_inputs(), use_cache=False
            ).last_hidden_state
        return hidden[batch.rows, batch.columns].to(self.compute_dtype)


class EncoderDecoderStudent(nn.Module):
    """Wraps an encoder-decoder language model, such as T5 or Flan-T5."""

    def __init__(
        self, language_model: Any, compute_dtype: torch.dtype, token_loss: TokenLoss
    ) -> None:
        super().__init__()
        self.language_model = language_model
        self.compute_dtype = compute_dtype
        self.token_loss = token_loss
        config = language_model.config
        # T5 with tied embeddings scales what goes into the output head; Flan-T5 does not.
        is_scaled = getattr(config, "scale_decoder_outputs", False)
        self.scale = float(config.d_model**-0.5) if is_scaled else 1.0

    def collate(
        self, examples: Sequence[Example], num_given_steps: Sequence[int], pad_id: int
    ) -> PairBatch:
        """Return the batch in which each example's given steps are read by the encoder."""
        start_id = self.language_model.config.decoder_start_token_id
        return collate_pairs(examples, num_given_steps, pad_id, start_id)

    def forward(self, batch: PairBatch) -> LossParts:
        """Return the loss; only positions in the loss reach the output head."""
        return _loss(self, self.predicting_states(batch), batch)

    def predicting_states(self, batch: PairBatch) -> Tensor:
        """Return what goes into the output head for each label, [N, d]."""
        with _arithmetic(batch, self.compute_dtype):
            encoded = self.language_model.get_encoder()(
                input_ids=batch.input_ids, attention_mask=batch.attention_mask
            ).last_hidden_state
            hidden = self.language_model.get_decoder()(
                input_ids=batch.decoder_input_ids,
                encoder_hidden_states=encoded,
                encoder_attention_mask=batch.attention_mask,
                use_cache=False,
            ).last_hidden_state
        return hidden[batch.rows, batch.columns].to(self.compute_dtype) * self.scale


Student = CausalStudent | EncoderDecoderStudent


def _loss(student: Student, hidden: Tensor, batch: Batch) -> LossParts:
    head = output_head(student.language_model)
    return LossParts(*student.token_loss(hidden, head, batch.labels, batch.token_weights))


def _arithmetic(batch: Batch, dtype: torch.dtype) -> torch.autocast:
    return torch.autocast(batch.input_ids.device.type, dtype=dtype, enabled=dtype != torch.float32)


def load_tokenizer(name: str) -> Any:
    """Load a model's tokenizer, which knows character offsets.

    Args:
        name: of the model, as in a config; see `models.sources`.

    Raises:
        KpodError: There is no such model, or its tokenizer has no offsets or no end-of-sequence token.
    """
    tokenizer = AutoTokenizer.from_pretrained(model_folder(name))
    if not tokenizer.is_fast:
        raise KpodError(f"model {name}: its tokenizer gives no character offsets (no fast version)")
    if tokenizer.eos_token_id is None:
        raise KpodError(f"model {name}: its tokenizer has no end-of-sequence token")
    return tokenizer


def check_vocabulary(name: str) -> None:
    """Check that a model has an embedding for every token of its tokenizer.

    Tokens added to a tokenizer that its model does without, such as those of images, don't count.

    Raises:
        KpodError: It hasn't, or its tokenizer can't be used.
    """
    num_tokens = load_tokenizer(name).vocab_size
    num_embeddings = AutoConfig.from_pretrained(model_folder(name)).get_text_config().vocab_size
    if num_tokens > num_embeddings:
        raise KpodError(
            f"model {name}: its tokenizer has {num_tokens} tokens, the model {num_embeddings}; "
            "take the tokenizer that belongs to the model"
        )


def load_student(
    name: str, compute_dtype: torch.dtype, token_loss: TokenLoss = weighted_nll
) -> Student:
    """Load a language model of either family with fp32 parameters.

    Args:
        name: of the model, as in a config; see `models.sources`.
        compute_dtype: of its arithmetic.
        token_loss: `weighted_nll` or `probability_scaled_nll`.

    Raises:
        KpodError: Its logits are more than a product with the output head, or its decoder has no
            start token.
    """
    family, language_model = _load_language_model(name)
    head = language_model.get_output_embeddings()
    if head is None or getattr(head, "bias", None) is not None:
        raise KpodError(f"model {name}: an output head without bias is expected")
    if getattr(language_model.config, "final_logit_softcapping", None):
        raise KpodError(f"model {name}: soft-capped logits are not supported")
    if not _has_plain_logits(family(language_model, torch.float32, token_loss)):
        raise KpodError(f"model {name}: scaled logits are not supported")
    return family(language_model, compute_dtype, token_loss)


def _load_language_model(name: str) -> tuple[type[Student], Any]:
    folder = model_folder(name)
    config = AutoConfig.from_pretrained(folder)
    if not config.is_encoder_decoder:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return CausalStudent, model
    if config.decoder_start_token_id is None:
        raise KpodError(f"model {name}: decoder_start_token_id is missing in its config.json")
    return (
        EncoderDecoderStudent,
        AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32),
    )


@torch.no_grad()
def _has_plain_logits(student: Any) -> bool:
    """Tell, from a few tokens, whether the logits are the output head times the predicting states."""
    probe = Example("", [0, 1], [1, 0, 1], [1.0] * 3, [0, 0, 1], 1)
    batch = student.collate([probe], [0], 0)
    logits = student.language_model(**batch.model_inputs(), use_cache=False).logits
    product = (
        student.predicting_states(batch) @ student.language_model.get_output_embeddings().weight.T
    )
    return torch.allclose(
        logits[batch.rows, batch.columns],
        product,
        rtol=1e-2,
        atol=1e-3 * float(product.abs().max()),
    )


def pad_id(tokenizer: Any) -> int:
    """Return an id to pad with; padding is told by the attention mask, so any id will do."""
    chosen = tokenizer.pad_token_id
    return int(tokenizer.eos_token_id if chosen is None else chosen)
