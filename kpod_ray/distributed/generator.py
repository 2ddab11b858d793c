"""Greedy generation by transformers as an actor of Ray Data.

It starts in seconds, where a vLLM engine takes half a minute, and takes encoder-decoder models.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from kpod_ray.config import ActorResources, EvaluationConfig
from kpod_ray.data.prompts import Template, encode_prompt
from kpod_ray.distributed.streaming import ActorPool
from kpod_ray.models.folders import MODEL_CACHE, model_folder
from kpod_ray.models.generation import greedy_writer
from kpod_ray.models.student import load_student, load_tokenizer


class Generator:
    """Generates a text for each request; one that leaves no room becomes a row that says so."""

    def __init__(self, model: str, template: Template, precision: str, max_new_tokens: int) -> None:
        folder = model_folder(model, MODEL_CACHE)
        self.tokenizer, self.template = load_tokenizer(folder), template
        language_model = load_student(folder, torch.float32).language_model
        self.writer = greedy_writer(
            language_model, self.tokenizer, template, precision, max_new_tokens
        )

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """Return one row for each request of the batch."""
        prompts = [encode_prompt(self.tokenizer, str(t), self.template) for t in batch["text"]]
        written = self.writer.write(prompts, len(prompts))
        return {
            "id": [str(i) for i in batch["id"]],
            "text": [row.text for row in written],
            "finish_reason": [row.finish_reason for row in written],
            "num_tokens": [row.num_tokens for row in written],
            "num_prompt_tokens": [len(prompt) for prompt in prompts],
            "logprob": [None] * len(prompts),
        }


def generator_pool(
    model: str,
    template: Template,
    precision: str,
    evaluation: EvaluationConfig,
    resources: ActorResources,
) -> ActorPool:
    """Return the pool of generators for one model."""
    return ActorPool(
        actor=Generator,
        arguments={
            "model": model,
            "template": template,
            "precision": precision,
            "max_new_tokens": evaluation.max_new_tokens,
        },
        resources=resources,
        batch_size=evaluation.batch_size,
    )
