"""Which texts are asked of a teacher: requests with ids and seeds that follow from their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence

from kpod_ray.config import GeneratingTeacher
from kpod_ray.data.prompts import Shot, question_text
from kpod_ray.records import GenerationRequest, Question

_ID_DIGITS = 24  # 96 bits: no two ids alike among a billion
_WRITING = {
    *("kind", "model", "temperature", "top_p", "max_new_tokens", "stop", "template", "system"),
    *("instruction", "engine", "url", "body"),
}
"""Settings of a teacher that determine what it writes."""


def request_id(generation: str, question_id: str, text: str, sample_index: int) -> str:
    """Return the id of one sample: teacher and sampling, question and index determine it.

    Args:
        generation: fingerprint of the teacher and its sampling settings.
        question_id: of the question.
        text: the question as a model reads it.
        sample_index: from 0.
    """
    content = json.dumps([generation, question_id, text, sample_index])
    return hashlib.sha256(content.encode()).hexdigest()[:_ID_DIGITS]


def generation_requests(
    questions: Iterable[Question], sample_indices: Sequence[int], generation: str
) -> Iterator[GenerationRequest]:
    """Yield one request for each of some samples of each question, question by question.

    The seed of a request follows from its id, so that it never depends on what else is asked.
    """
    for question in questions:
        text = question_text(question)
        for index in sample_indices:
            row_id = request_id(generation, question.id, text, index)
            yield GenerationRequest(row_id, text, int(row_id[:8], 16) >> 1)


def generation_fingerprint(
    teacher: GeneratingTeacher, model_hash: str, shots: Sequence[Shot], seed: int
) -> str:
    """Return a short hash of everything that determines what a teacher writes to a question.

    How many samples are asked for, and what becomes of them, is no part of it.
    """
    content = {
        "teacher": teacher.model_dump(include=_WRITING),
        "model": model_hash,
        "shots": list(shots),
        "seed": seed if teacher.temperature > 0 else None,
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
