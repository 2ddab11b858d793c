"""The student: a causal or encoder-decoder language model whose forward pass returns a batch's loss.

A causal student reads the question, the given steps and the supervised tokens as one sequence. An
encoder-decoder student reads the question and the given steps with its encoder and predicts the
supervised tokens with its decoder. Both classes have the same methods.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from kpod_ray.algorithm.loss import weighted_nll
from kpod_ray.data.batches import Batch, collate, collate_packed
from kpod_ray.data.examples import Example
from kpod_ray.errors import KpodError
from kpod_ray.kernels.recomputed_embedding import output_head
from kpod_ray.models.custom_code import load_pretrained
from kpod_ray.models.folder_check import check_size, check_tokenizer
from kpod_ray.models.pair_batches import PairBatch, collate_pairs
from kpod_ray.models.sources import load_config, model_folder

transformers_logging.disable_progress_bar()
TokenLoss = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Function from hidden states [N, d], output head [V, d], labels [N] and token weights [N] to the three
fields of `LossParts`."""


@dataclasses.dataclass(frozen=True)
class LossParts:
    """The loss of a batch with N labels, in nats, on the batch's device."""

    total: Tensor
    """Sum over the labels, a float32 scalar with gradients: loss times token weight (`weighted_nll`,
    Eq. 15 plus the answer's loss), or also times probability (`probability_scaled_nll`)."""
    token_nll: Tensor
    """[N], float32, unweighted loss of each of ``Batch.labels``, in order, without gradients."""
    is_top: Tensor
    """[N] bool, whether each label has the highest logit (or shares the highest with others)."""


class CausalStudent(nn.Module):
    """A causal language model with the loss of its training.

    Args:
        language_model: a causal model of transformers, whose logits are hidden states times output head.
        compute_dtype: type of the computation under autocast; float32 computes without autocast. The
            parameters keep their type.
        token_loss: the loss function.
    """

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
        """Return a batch, on the CPU, in which the loss starts after each example's given steps.

        The labels are the target tokens of all later steps and of the answer segment. The batch is
        packed after `models.packing.use_packing` switched this student, and padded otherwise.

        Args:
            examples: B examples, at least one.
            num_given_steps: [B], number of given steps of each example.
            pad_id: token id of padding; packed batches have none.

        Raises:
            ValueError: ``examples`` and ``num_given_steps`` have different lengths.
        """
        if self.is_packing:  # `models.packing.use_packing` sets the attribute
            return collate_packed(examples, num_given_steps)
        return collate(examples, num_given_steps, pad_id)

    def forward(self, batch: Batch) -> LossParts:
        """Return a batch's loss, which allows one backward pass; only the labels' logits are computed.

        Args:
            batch: result of this student's `collate`, moved to the device of the model.
        """
        return _loss(self, self.predicting_states(batch), batch)

    def predicting_states(self, batch: Batch) -> Tensor:
        """Return the output head's input for each of the N labels, [N, d], in ``compute_dtype``.

        Row j belongs to ``batch.labels[j]``.

        Args:
            batch: result of this student's `collate`, moved to the device of the model.
        """
        with _autocast(batch, self.compute_dtype):
            hidden = self.language_model.base_model(
                **batch.model_inputs(), use_cache=False
            ).last_hidden_state
        return hidden[batch.rows, batch.columns].to(self.compute_dtype)


class EncoderDecoderStudent(nn.Module):
    """An encoder-decoder language model, such as Flan-T5, with the loss of its training.

    Args:
        language_model: an encoder-decoder model of transformers, whose logits are hidden states (scaled
            in T5 with tied embeddings) times output head.
        compute_dtype: as in `CausalStudent`.
        token_loss: the loss function.
    """

    def __init__(
        self, language_model: Any, compute_dtype: torch.dtype, token_loss: TokenLoss
    ) -> None:
        super().__init__()
        self.language_model = language_model
        self.compute_dtype = compute_dtype
        self.token_loss = token_loss
        config = language_model.config
        # T5 with tied embeddings scales the input of the output head; Flan-T5 does not.
        is_scaled = getattr(config, "scale_decoder_outputs", False)
        self.scale = float(config.d_model**-0.5) if is_scaled else 1.0

    def collate(
        self, examples: Sequence[Example], num_given_steps: Sequence[int], pad_id: int
    ) -> PairBatch:
        """Return a batch, on the CPU, for the encoder and the decoder.

        The encoder reads each example's question and given steps, and an end-of-sequence token. The
        labels of the decoder are the target tokens of all later steps and of the answer segment.

        Args:
            examples: B examples, at least one.
            num_given_steps: [B], number of given steps of each example.
            pad_id: token id of padding.

        Raises:
            ValueError: ``examples`` and ``num_given_steps`` have different lengths.
        """
        config = self.language_model.config
        start_id, end_id = config.decoder_start_token_id, config.eos_token_id
        return collate_pairs(examples, num_given_steps, pad_id, start_id, end_id)

    def forward(self, batch: PairBatch) -> LossParts:
        """Return a batch's loss, which allows one backward pass; only the labels' logits are computed.

        Args:
            batch: result of this student's `collate`, moved to the device of the model.
        """
        return _loss(self, self.predicting_states(batch), batch)

    def predicting_states(self, batch: PairBatch) -> Tensor:
        """Return the output head's input for each of the N labels, [N, d], in ``compute_dtype``.

        Row j belongs to ``batch.labels[j]``.

        Args:
            batch: result of this student's `collate`, moved to the device of the model.
        """
        with _autocast(batch, self.compute_dtype):
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


def _autocast(batch: Batch, dtype: torch.dtype) -> torch.autocast:
    return torch.autocast(batch.input_ids.device.type, dtype=dtype, enabled=dtype != torch.float32)


def load_tokenizer(name: str) -> Any:
    """Load the tokenizer of a model, which can return character offsets.

    `model_folder`, with its errors, may write the model to the cache; a hub model's tokenizer is
    downloaded.

    Raises:
        KpodError: The tokenizer has no character offsets or no end-of-sequence token.
        OSError: transformers can't load the tokenizer, or the hub doesn't have the model.
        ValueError: transformers knows no tokenizer for the model, or a tokenizer file isn't valid JSON.
    """
    tokenizer = load_pretrained(AutoTokenizer, name, model_folder(name))
    check_tokenizer(name, tokenizer)
    return tokenizer


def check_vocabulary(name: str) -> None:
    """Check that a model's config has at least as many embeddings as its tokenizer has tokens.

    The errors of `load_tokenizer` and `check_size` apply.
    """
    check_size(name, load_tokenizer(name), load_config(name))


def load_student(
    name: str, compute_dtype: torch.dtype, token_loss: TokenLoss = weighted_nll
) -> Student:
    """Load a causal or encoder-decoder language model, with float32 parameters, as a student.

    The language model is on the CPU, in evaluation mode, and all its parameters are trainable.
    `model_folder`, whose errors apply, may first write the model to the cache; a hub model is
    downloaded. Parameters that are missing in the model's files get random values; transformers warns of
    them.

    Args:
        name: name of the model, as in a config; see `models.sources`.
        compute_dtype: type of the computation under autocast; float32 computes without autocast.
        token_loss: `weighted_nll`, `probability_scaled_nll` or a `with_full_logits` variant.

    Raises:
        KpodError: The model's logits aren't the plain product of hidden states and output head (there is
            no head, the head has a bias, or the logits are scaled or soft-capped), or the decoder has no
            start token.
        OSError: transformers can't load the model, or the hub doesn't have the model.
        ValueError: transformers doesn't know the type of the model.
        RuntimeError: The shapes of the parameters differ from those that the config asks for.
        SafetensorError: A file of parameters is truncated.
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
    """Return the student class for a model, and the model."""
    folder = model_folder(name)
    config = load_config(name)
    options = {"dtype": torch.float32, "use_safetensors": True}
    if not config.is_encoder_decoder:
        model = load_pretrained(AutoModelForCausalLM, name, folder, **options)
        return CausalStudent, model
    if getattr(config, "decoder_start_token_id", None) is None:
        raise KpodError(f"model {name}: decoder_start_token_id is missing in its config.json")
    return (
        EncoderDecoderStudent,
        load_pretrained(AutoModelForSeq2SeqLM, name, folder, **options),
    )


@torch.no_grad()
def _has_plain_logits(student: Any) -> bool:
    """Return whether a model's logits equal predicting states times output head, for a few tokens."""
    probe = Example("", [0, 1], [1, 0, 1], [1.0] * 3, [0, 0, 1], [False] * 3, [False] * 3, 1)
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
    """Return the id of a tokenizer's padding token or, without one, of its end-of-sequence token."""
    chosen = tokenizer.pad_token_id  # any id is right: the attention mask marks the padding
    return int(tokenizer.eos_token_id if chosen is None else chosen)
