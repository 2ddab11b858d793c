"""Which settings of a teacher determine what: the texts, what becomes of the texts, or nothing.

A setting that is in no list determines the texts, so that a new setting can never let a run take
texts that other settings wrote.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from kpod_ray.config import GeneratingTeacher, TeacherConfig
from kpod_ray.data.prompts import Shot

_TRANSPORT = {
    *("api_key_env", "max_concurrent", "requests_per_minute", "tokens_per_minute"),
    *("timeout_s", "max_tries", "max_wait_s", "price", "max_cost"),
}
"""Settings that determine only how requests are sent to an endpoint."""
_AFTER_GENERATION = {"samples", "fallback", "filters", "selection", "num_kept"}
"""Settings that determine how many texts there are and what becomes of the texts: part of the artifact
of phase ``teacher`` alone."""
_HASHED_AS_TEXT = {"num_shots"}
"""Settings whose effect on a prompt, the worked examples, is hashed instead."""


def artifact_settings(teacher: TeacherConfig) -> dict[str, Any]:
    """Return the settings that determine the artifact of phase ``teacher``."""
    return teacher.model_dump(exclude=_TRANSPORT)


def generation_fingerprint(
    teacher: GeneratingTeacher, model_hash: str, shots: Sequence[Shot], seed: int
) -> str:
    """Return a short hash of everything that determines what a teacher writes to a question.

    Args:
        teacher: the settings; only those that determine a text are hashed.
        model_hash: identifies the model's files; empty where they are out of reach.
        shots: worked examples of the prompt.
        seed: of the run; has no effect at temperature 0.
    """
    content = {
        "teacher": teacher.model_dump(exclude=_TRANSPORT | _AFTER_GENERATION | _HASHED_AS_TEXT),
        "model": model_hash,
        "shots": list(shots),
        "seed": seed if teacher.temperature > 0 else None,
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
