"""Greedy generation by transformers, in this process or as an actor of Ray Data.

Transformers starts in seconds, where a vLLM engine takes half a minute, and generates with
encoder-decoder models, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from kpod_ray.cluster.actor_pool import ActorPool
from kpod_ray.config import ActorResources, EvaluationConfig
from kpod_ray.data.prompts import NEXT_QUESTION, Template, encode_prompt
from kpod_ray.models.device import compute_dtype, device
from kpod_ray.models.generation import fits_positions, generation_inputs
from kpod_ray.models.student import load_student, load_tokenizer, pad_id
from kpod_ray.records import Completion, GenerationRequest


class GeneratorActor:
    """Completes batches of requests with a model of its own, as an actor of Ray Data."""

    def __init__(self, model: str, template: Template, precision: str, max_new_tokens: int) -> None:
        language_model = load_student(model, torch.float32).language_model
        self.generator = RequestGenerator(
            language_model, load_tokenizer(model), template, precision, max_new_tokens
        )

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return one completion for each request of the batch."""
        requests = GenerationRequest.from_table(batch)
        return Completion.to_table(self.generator.complete(requests, len(requests)))


def generator_pool(
    model: str,
    template: Template,
    precision: str,
    evaluation: EvaluationConfig,
    resources: ActorResources,
) -> ActorPool:
    """Return the pool of generators for one model."""
    return ActorPool(
        actor=GeneratorActor,
        arguments={
            "model": model,
            "template": template,
            "precision": precision,
            "max_new_tokens": evaluation.max_new_tokens,
        },
        resources=resources,
        batch_size=evaluation.batch_size,
        batch_format="pyarrow",
    )


STOP_WINDOW = 8
"""Last tokens in which a stop text is looked for; the text is short, a token at least one byte."""


@dataclasses.dataclass(frozen=True)
class Generated:
    """One text."""

    text: str
    finish_reason: str
    """``stop`` at an end-of-sequence token or the stop text, ``length``, or ``error``: then the text
    says why nothing was generated."""
    num_tokens: int
    """Generated tokens, with the one that ended the text."""


class GreedyGenerator:
    """Continues prompts greedily, as the model would each of them alone."""

    def __init__(
        self, language_model: Any, tokenizer: Any, max_new_tokens: int, stop_text: str | None
    ) -> None:
        self.model, self.tokenizer = language_model, tokenizer
        self.max_new_tokens, self.stop_text = max_new_tokens, stop_text
        self.end_ids = _end_ids(language_model, tokenizer)
        # The model's own file may ask for sampling or penalties: only these settings hold.
        self.model.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=self.end_ids,
            pad_token_id=pad_id(tokenizer),
            decoder_start_token_id=getattr(language_model.config, "decoder_start_token_id", None),
        )

    def generate(self, prompts: Sequence[Sequence[int]], batch_size: int) -> list[Generated]:
        """Return the text that follows each prompt; prompts of similar length share a batch.

        Args:
            prompts: token ids as `encode_prompt` gives them.
            batch_size: texts generated at the same time.
        """
        written: dict[int, Generated] = {}
        fitting = []
        for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
            if fits_positions(self.model.config, len(prompts[i]), self.max_new_tokens):
                fitting.append(i)
            else:
                written[i] = Generated(
                    f"a prompt of {len(prompts[i])} tokens and max_new_tokens of "
                    f"{self.max_new_tokens} are more than the model's positions",
                    "error",
                    0,
                )
        for start in range(0, len(fitting), batch_size):
            rows = fitting[start : start + batch_size]
            written |= zip(rows, self._generate_batch([prompts[i] for i in rows]), strict=True)
        return [written[i] for i in range(len(prompts))]

    @torch.no_grad()
    def _generate_batch(self, prompts: Sequence[Sequence[int]]) -> list[Generated]:
        tensors, start = generation_inputs(self.model, self.tokenizer, prompts)
        inputs = {name: tensor.to(self.model.device) for name, tensor in tensors.items()}
        stop = _StopText(self.tokenizer, self.stop_text, start)
        output = self.model.generate(**inputs, stopping_criteria=StoppingCriteriaList([stop]))
        rows = output[:, start:].tolist()
        return [self._read(row, stop.lengths.get(i)) for i, row in enumerate(rows)]

    def _read(self, ids: list[int], stop_length: int | None) -> Generated:
        """Cut a row where it ended: what comes after it is padding."""
        end = next((i for i, token in enumerate(ids) if token in self.end_ids), None)
        length = len(ids) if end is None else end + 1
        length = length if stop_length is None else min(length, stop_length)
        text = self.tokenizer.decode(ids[:length], skip_special_tokens=True)
        if stop_length is not None and self.stop_text is not None:
            text = text.partition(self.stop_text)[0]
        is_stopped = end is not None or stop_length is not None
        return Generated(text, "stop" if is_stopped else "length", length)


class RequestGenerator:
    """Completes requests greedily: a template makes the prompts, a `GreedyGenerator` the texts.

    Args:
        language_model: of either family; moved to this machine's GPU, if any, in place.
        tokenizer: of the model.
        template: of the prompts; a plain text ends before the next question.
        precision: ``fp32`` or ``bf16``: what the model's parameters become.
        max_new_tokens: most tokens of a text.
    """

    def __init__(
        self,
        language_model: Any,
        tokenizer: Any,
        template: Template,
        precision: str,
        max_new_tokens: int,
    ) -> None:
        model = language_model.to(device(), compute_dtype(precision))
        stop_text = NEXT_QUESTION if template == "plain" else None
        self.template, self.tokenizer = template, tokenizer
        self.generator = GreedyGenerator(model, tokenizer, max_new_tokens, stop_text)

    def complete(self, requests: Sequence[GenerationRequest], batch_size: int) -> list[Completion]:
        """Return the completion of each request; one without room for its text is an error row.

        Args:
            requests: of which the seeds have no effect.
            batch_size: texts generated at the same time.
        """
        prompts = [encode_prompt(self.tokenizer, r.text, self.template) for r in requests]
        texts = self.generator.generate(prompts, batch_size)
        return [
            Completion(request.id, t.text, t.finish_reason, t.num_tokens, len(prompt))
            for request, prompt, t in zip(requests, prompts, texts, strict=True)
        ]


class _StopText(StoppingCriteria):
    """Ends a row once it holds the stop text, and keeps its length."""

    def __init__(self, tokenizer: Any, stop_text: str | None, start: int) -> None:
        self.tokenizer, self.stop_text, self.start = tokenizer, stop_text, start
        self.lengths: dict[int, int] = {}
        """Generated tokens of each row that was ended."""

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        is_done = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        if self.stop_text is None:
            return is_done
        length = input_ids.shape[1]
        tails = input_ids[:, max(self.start, length - STOP_WINDOW) :]
        texts = self.tokenizer.batch_decode(tails, skip_special_tokens=True)
        for row, text in enumerate(texts):
            if self.stop_text in text:
                self.lengths.setdefault(row, length - self.start)
                is_done[row] = True
        return is_done


def _end_ids(language_model: Any, tokenizer: Any) -> list[int]:
    """Return what ends a text: the tokenizer's token, and those the model's own file adds."""
    own = language_model.generation_config.eos_token_id
    more = own if isinstance(own, list) else [own]
    return sorted({tokenizer.eos_token_id, *(token for token in more if token is not None)})
