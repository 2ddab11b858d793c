"""Rows of the tables of generated texts: requests and completions."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import pyarrow as pa

from kpod_ray.records import Record


@dataclasses.dataclass(frozen=True, slots=True)
class GenerationRequest(Record):
    """The request to generate one text."""

    id: str
    """Id of the request, which the completion repeats; unique."""
    text: str
    """The question with its lettered choices (`question_text`), without examples and instructions."""
    seed: int
    """Seed of the sampling, from 0 to 2^31 - 1."""
    schema: ClassVar[pa.Schema] = pa.schema(
        {"id": pa.string(), "text": pa.string(), "seed": pa.int64()}
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Completion(Record):
    """One generated text, or an error row: its finish reason is ``error``, its text the message."""

    id: str
    text: str
    finish_reason: str
    """``stop``, ``length``, ``error`` or another word of the service."""
    num_tokens: int
    """Generated tokens; 0 when unknown."""
    num_prompt_tokens: int = 0
    """Tokens of the prompt; 0 when unknown."""
    logprob: float | None = None
    """Log-probability of the text, summed over its tokens, in nats; None when unknown."""
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "id": pa.string(),
            "text": pa.string(),
            "finish_reason": pa.string(),
            "num_tokens": pa.int32(),
            "num_prompt_tokens": pa.int32(),
            "logprob": pa.float64(),
        }
    )
