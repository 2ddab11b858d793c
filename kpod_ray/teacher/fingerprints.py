"""Fingerprints of a teacher: which settings determine the samples, and which the filtered rationales.

The sets below name the settings that don't determine a sample. A new setting is in no set and
therefore part of both fingerprints: a run never reuses completions of another value of the setting.
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
"""Settings that determine only how requests are sent to an endpoint; part of no fingerprint."""
_AFTER_GENERATION = {"samples", "fallback", "filters", "selection", "num_kept", "thoughts"}
"""Settings that determine the number of samples, the filters and the selection; part of the
fingerprint of the artifact of phase ``teacher``, but not of the completions."""
_HASHED_AS_TEXT = {"num_shots"}
"""Settings that are hashed by their effect: the worked examples in the prompt."""


def artifact_settings(teacher: TeacherConfig) -> dict[str, Any]:
    """Return the settings that determine the artifact of phase ``teacher``, as a new nested dict.

    Settings that only determine how requests are sent to an endpoint are left out: the variable of the
    key, limits, timeouts, retries, prices. The content of a model folder or of a file of rationales
    isn't included; see `kinds.content_hash`.
    """
    return teacher.model_dump(exclude=_TRANSPORT)


def generation_fingerprint(
    teacher: GeneratingTeacher, model_hash: str, shots: Sequence[Shot], seed: int
) -> str:
    """Return the hash, 16 hex digits, of everything but the question that determines a completion.

    Args:
        teacher: the settings of the teacher. Not hashed are: how requests are sent, the number of
            samples, filters, selection and fallback, and ``num_shots``, which acts through ``shots``.
        model_hash: result of `kinds.content_hash`.
        shots: result of `worked_examples` for ``teacher.num_shots``.
        seed: seed of the run; has no effect at temperature 0.
    """
    content = {
        "teacher": teacher.model_dump(exclude=_TRANSPORT | _AFTER_GENERATION | _HASHED_AS_TEXT),
        "model": model_hash,
        "shots": list(shots),
        "seed": seed if teacher.temperature > 0 else None,
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def completions_folder(fingerprint: str) -> str:
    """Return the folder of the completions with a `generation_fingerprint`, relative to the store."""
    return f"completions/{fingerprint}"
