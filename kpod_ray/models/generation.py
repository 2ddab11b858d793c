"""Inputs for the ``generate`` method of transformers, and the length limit of generated text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from kpod_ray.data.batches import padded
from kpod_ray.models.student import pad_id


class GenerationInputs(NamedTuple):
    """A batch of B prompts, padded to L tokens, as ``generate`` takes it."""

    tensors: dict[str, Tensor]
    """``input_ids`` and ``attention_mask`` (1 at tokens, 0 at padding), [B, L], int64, on the CPU."""
    num_echoed: int
    """Number of leading tokens of each output sequence that precede the generated text."""


def generation_inputs(
    language_model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]]
) -> GenerationInputs:
    """Pad prompts into the inputs of a language model's ``generate`` method.

    For a causal model the prompts are left-padded, and the output of ``generate`` repeats them. For an
    encoder-decoder each prompt gets an end-of-sequence token and is right-padded, and the output starts
    with the decoder's start token.

    Args:
        language_model: a causal or encoder-decoder model of transformers; only its config is read.
        tokenizer: the model's tokenizer.
        prompts: B lists of token ids, at least one; for an encoder without the end-of-sequence token.
    """
    is_pair = language_model.config.is_encoder_decoder
    ids = [[*prompt, tokenizer.eos_token_id] if is_pair else list(prompt) for prompt in prompts]
    input_ids, attention_mask = padded(ids, pad_id(tokenizer), "right" if is_pair else "left")
    tensors = {"input_ids": input_ids, "attention_mask": attention_mask}
    return GenerationInputs(tensors, 1 if is_pair else input_ids.shape[1])


def fits_positions(config: Any, prompt_length: int, max_new_tokens: int) -> bool:
    """Return whether a prompt and the longest generated text fit the model's maximum length.

    In a causal model, prompt and text share ``max_position_embeddings`` positions. In an
    encoder-decoder, the text and the prompt with its end-of-sequence token must each fit. A config
    without this setting, such as that of T5, has no maximum.

    Args:
        config: the transformers config of the language model.
        prompt_length: number of tokens of the prompt, without an end-of-sequence token.
        max_new_tokens: largest number of generated tokens.
    """
    num_positions = getattr(config, "max_position_embeddings", None)
    if num_positions is None:  # relative positions, as in T5, have no maximum
        return True
    if config.is_encoder_decoder:  # the encoder adds an end-of-sequence token to the prompt
        return max(prompt_length + 1, max_new_tokens) <= num_positions
    return prompt_length + max_new_tokens <= num_positions
