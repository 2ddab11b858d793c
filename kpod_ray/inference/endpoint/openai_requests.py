"""Requests to an OpenAI-compatible endpoint: the path and the body of a request for one text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kpod_ray.config import EndpointTeacher
from kpod_ray.data.prompts import (
    NEXT_QUESTION,
    PromptAffixes,
    Shot,
    messages,
    plain_text,
    shots_for,
)
from kpod_ray.inference.records import GenerationRequest


def request_path(teacher: EndpointTeacher) -> str:
    """Return the path that requests are sent to, below the teacher's ``base_url``."""
    return "/chat/completions" if teacher.template == "chat" else "/completions"


def request_body(
    teacher: EndpointTeacher, request: GenerationRequest, shots: Sequence[Shot]
) -> tuple[dict[str, Any], int]:
    """Return the JSON body of a request, and the number of characters of the prompt.

    Args:
        teacher: the endpoint's model, template and sampling; ``extra_body`` replaces and adds entries.
        request: the request. At temperature 0 its seed isn't sent.
        shots: result of `worked_examples`: one more than a prompt contains, or none.
    """
    affixes = PromptAffixes(teacher.system_prompt, teacher.instruction)
    used_shots = shots_for(request.text, shots)
    stop = list(teacher.stop)
    body: dict[str, Any] = {
        "model": teacher.model,
        "max_tokens": teacher.max_new_tokens,
        "temperature": teacher.temperature,
        "top_p": teacher.top_p,
    }
    if teacher.template == "chat":
        body["messages"] = messages(request.text, used_shots, affixes)
        num_chars = sum(len(message["content"]) for message in body["messages"])
    else:
        body["prompt"] = plain_text(request.text, used_shots, affixes)
        num_chars = len(body["prompt"])
        stop.append(NEXT_QUESTION)
    if stop:
        body["stop"] = stop
    if teacher.temperature > 0:
        body["seed"] = request.seed
    return {**body, **teacher.extra_body}, num_chars
