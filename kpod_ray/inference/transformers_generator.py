"""Generation with transformers, from token ids or from requests, in this process and without Ray.

Transformers starts in seconds, whereas a vLLM engine takes half a minute, and also generates with
encoder-decoder models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from kpod_ray.data.prompts import NEXT_QUESTION, Template, encode_prompt
from kpod_ray.inference.records import Completion, GenerationRequest
from kpod_ray.models.device import compute_dtype, device
from kpod_ray.models.generation import fits_positions, generation_inputs
from kpod_ray.models.student import load_student, load_tokenizer, pad_id

STOP_WINDOW = 8
"""Number of last tokens in which the stop text is searched. The stop text is shorter than this many
bytes, and a token has at least one byte."""


@dataclasses.dataclass(frozen=True)
class Generated:
    """One generated text."""

    text: str
    """The text; with finish reason ``error`` the reason why no text was generated."""
    finish_reason: str
    """``stop`` at an end-of-sequence token or the stop text, ``length``, or ``error``."""
    num_tokens: int
    """Generated tokens, including the token that ended the text."""


class TextGenerator:
    """Continues prompts; greedily, the other prompts of a batch change a text only by rounding.

    Args:
        language_model: decoder-only or encoder-decoder model of transformers in evaluation mode, used on
            its device and in its precision; its generation config is replaced in place.
        tokenizer: tokenizer of the model, with an end-of-sequence token.
        max_new_tokens: largest number of tokens of a text.
        stop_text: text of fewer than `STOP_WINDOW` bytes that ends the generation and is cut off; None
            for no such text.
        temperature: temperature of the softmax from which each token is drawn, with torch's global
            generator; 0 takes the most likely token.
    """

    def __init__(
        self,
        language_model: Any,
        tokenizer: Any,
        max_new_tokens: int,
        stop_text: str | None,
        temperature: float,
    ) -> None:
        self.model = language_model
        self.tokenizer = tokenizer
        self.max_new_tokens = max_new_tokens
        self.stop_text = stop_text
        self.end_ids = _end_ids(language_model, tokenizer)
        # transformers would by default draw from the 50 most likely tokens
        drawing = {"temperature": temperature, "top_k": 0} if temperature else {}
        # The model's own generation config may ask for sampling or penalties, so it is replaced.
        self.model.generation_config = GenerationConfig(
            do_sample=temperature > 0,
            max_new_tokens=max_new_tokens,
            eos_token_id=self.end_ids,
            pad_token_id=pad_id(tokenizer),
            decoder_start_token_id=getattr(language_model.config, "decoder_start_token_id", None),
            **drawing,
        )

    def generate(self, prompts: Sequence[Sequence[int]], batch_size: int) -> list[Generated]:
        """Return the text that follows each prompt, in the order of the prompts.

        A text ends at an end-of-sequence token of the tokenizer or of the generation config that the
        model had before this instance was created, at the stop text, or after ``max_new_tokens``;
        special tokens and the stop text are left out. A prompt that doesn't fit the model's positions
        with ``max_new_tokens`` (`fits_positions`) isn't generated and gets the finish reason ``error``.

        Args:
            prompts: token ids of each prompt, from `encode_prompt`; none gives an empty list.
            batch_size: largest number of prompts per batch, at least 1; each batch has prompts of
                similar length, to save padding.
        """
        generated: dict[int, Generated] = {}
        fitting = []
        for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
            if fits_positions(self.model.config, len(prompts[i]), self.max_new_tokens):
                fitting.append(i)
            else:
                generated[i] = Generated(
                    f"a prompt of {len(prompts[i])} tokens and max_new_tokens of "
                    f"{self.max_new_tokens} are more than the model's positions",
                    "error",
                    0,
                )
        for start in range(0, len(fitting), batch_size):
            rows = fitting[start : start + batch_size]
            generated |= zip(rows, self._generate_batch([prompts[i] for i in rows]), strict=True)
        return [generated[i] for i in range(len(prompts))]

    @torch.no_grad()
    def _generate_batch(self, prompts: Sequence[Sequence[int]]) -> list[Generated]:
        """Return the texts that follow the prompts of one batch."""
        tensors, start = generation_inputs(self.model, self.tokenizer, prompts)
        inputs = {name: tensor.to(self.model.device) for name, tensor in tensors.items()}
        stop = _StopText(self.tokenizer, self.stop_text, start)
        output = self.model.generate(**inputs, stopping_criteria=StoppingCriteriaList([stop]))
        rows = output[:, start:].tolist()
        return [self._read(row, stop.lengths.get(i)) for i, row in enumerate(rows)]

    def _read(self, ids: list[int], stop_length: int | None) -> Generated:
        """Return the text of a row of generated token ids; ids after the end of the text are padding.

        The stop text was complete after ``stop_length`` tokens; None for a row without the stop text.
        """
        end = next((i for i, token in enumerate(ids) if token in self.end_ids), None)
        length = len(ids) if end is None else end + 1
        length = length if stop_length is None else min(length, stop_length)
        text = self.tokenizer.decode(ids[:length], skip_special_tokens=True)
        if stop_length is not None and self.stop_text is not None:
            text = text.partition(self.stop_text)[0]
        is_stopped = end is not None or stop_length is not None
        return Generated(text, "stop" if is_stopped else "length", length)


class RequestGenerator:
    """Completes generation requests, in this process.

    Args:
        language_model: decoder-only or encoder-decoder model of transformers in evaluation mode; the
            model is moved in place to the GPU of this process, if any, and to the precision, and its
            generation config is replaced.
        tokenizer: tokenizer of the model, with an end-of-sequence token.
        template: template of the prompts; with ``plain``, a text ends before the next question.
        precision: ``fp32`` or ``bf16``, the precision of the model's parameters.
        max_new_tokens: largest number of tokens of a text.
        temperature: as in `TextGenerator`; 0 is greedy.
    """

    def __init__(
        self,
        language_model: Any,
        tokenizer: Any,
        template: Template,
        precision: str,
        max_new_tokens: int,
        temperature: float,
    ) -> None:
        model = language_model.to(device(), compute_dtype(precision))
        stop_text = NEXT_QUESTION if template == "plain" else None
        self.template = template
        self.tokenizer = tokenizer
        self.generator = TextGenerator(model, tokenizer, max_new_tokens, stop_text, temperature)

    def complete(self, requests: Sequence[GenerationRequest], batch_size: int) -> list[Completion]:
        """Return the completion of each request, in the order of the requests.

        A prompt that doesn't fit the model's positions with ``max_new_tokens`` (`fits_positions`) gets
        an error row. Seeds have no effect; log-probabilities are None. ``batch_size`` is the largest
        number of prompts per batch, at least 1.

        Raises:
            KpodError: The template is ``chat``, and the tokenizer has no chat template.
        """
        prompts = [encode_prompt(self.tokenizer, r.text, self.template) for r in requests]
        texts = self.generator.generate(prompts, batch_size)
        return [
            Completion(request.id, t.text, t.finish_reason, t.num_tokens, len(prompt))
            for request, prompt, t in zip(requests, prompts, texts, strict=True)
        ]


def load_generator(
    model: str, template: Template, precision: str, max_new_tokens: int, temperature: float
) -> RequestGenerator:
    """Load a model, and return its generator; a model that isn't on this machine is downloaded.

    The model is moved to the GPU of this process, if any. ``model`` is the name of a model as in a
    config, or its folder. The other arguments are those of `RequestGenerator`. Errors of `load_student`
    and `load_tokenizer` pass on.
    """
    language_model = load_student(model, torch.float32).language_model
    tokenizer = load_tokenizer(model)
    return RequestGenerator(
        language_model, tokenizer, template, precision, max_new_tokens, temperature
    )


class _StopText(StoppingCriteria):
    """Ends a row as soon as its text contains the stop text; None ends no row.

    ``start`` is the number of leading tokens of each row that aren't generated.
    """

    def __init__(self, tokenizer: Any, stop_text: str | None, start: int) -> None:
        self.tokenizer = tokenizer
        self.stop_text = stop_text
        self.start = start
        self.lengths: dict[int, int] = {}
        """Row -> number of generated tokens when the stop text was complete."""

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Return which rows have ended, bool [B], for token ids [B, L]."""
        is_done = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        if self.stop_text is None:
            return is_done
        length = input_ids.shape[1]
        tails = input_ids[:, max(self.start, length - STOP_WINDOW) :]
        texts = self.tokenizer.batch_decode(tails, skip_special_tokens=True)
        for row, text in enumerate(texts):
            if self.stop_text in text:
                # An ended row is padded and may still contain the stop text: the first length counts.
                self.lengths.setdefault(row, length - self.start)
                is_done[row] = True
        return is_done


def _end_ids(language_model: Any, tokenizer: Any) -> list[int]:
    """Return the end-of-sequence ids: of the tokenizer, and of the model's own generation config."""
    own = language_model.generation_config.eos_token_id
    more = own if isinstance(own, list) else [own]
    return sorted({tokenizer.eos_token_id, *(token for token in more if token is not None)})
