"""What `generate` of transformers reads for prompts, and how long texts may be, in either family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from kpod_ray.data.batches import padded
from kpod_ray.models.student import pad_id


class GenerationInputs(NamedTuple):
    """A batch of prompts."""

    tensors: dict[str, Tensor]
    """``input_ids`` and ``attention_mask``, [B, L], on the CPU."""
    num_echoed: int
    """Tokens of each output that come before the generated text."""


def generation_inputs(
    language_model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]]
) -> GenerationInputs:
    """Return what a language model reads to continue prompts.

    A causal model repeats the prompt, which is padded on its left, before its text. An encoder reads the
    prompt closed by the end-of-sequence token; its decoder repeats the start token alone.
    """
    is_pair = language_model.config.is_encoder_decoder
    ids = [[*prompt, tokenizer.eos_token_id] if is_pair else list(prompt) for prompt in prompts]
    input_ids, attention_mask = padded(ids, pad_id(tokenizer), "right" if is_pair else "left")
    tensors = {"input_ids": input_ids, "attention_mask": attention_mask}
    return GenerationInputs(tensors, 1 if is_pair else input_ids.shape[1])


def fits_positions(config: Any, prompt_length: int, max_new_tokens: int) -> bool:
    """Whether a model has positions for a prompt and the longest text that may follow.

    Args:
        config: of the language model.
        prompt_length: tokens of the prompt.
        max_new_tokens: most tokens of the text.
    """
    num_positions = getattr(config, "max_position_embeddings", None)
    if num_positions is None:
        return True
    if config.is_encoder_decoder:
        return max(prompt_length + 1, max_new_tokens) <= num_positions
    return prompt_length + max_new_tokens <= num_positions
