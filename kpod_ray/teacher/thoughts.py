"""Remove what a reasoning model wrote between ``<think>`` and ``</think>`` before its reply."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from kpod_ray.records import Question
from kpod_ray.teacher.samples import Sample

_START, _END = "<think>", "</think>"


def without_thoughts(
    question: Question, samples: Iterable[Sample]
) -> tuple[Question, list[Sample]]:
    """Return a question and its samples; the reference rationale and the texts lose their thoughts."""
    reference = reply_of(question.reference_rationale)
    return (
        dataclasses.replace(question, reference_rationale=reference),
        [dataclasses.replace(sample, text=reply_of(sample.text)) for sample in samples],
    )


def reply_of(text: str) -> str:
    """Return a text without its thoughts and their marks, and without white space at its ends.

    Thoughts are the text up to the last ``</think>``, from the first ``<think>`` or, without one before,
    from the start: chat templates write ``<think>`` into the prompt. After the last ``</think>``, a
    ``<think>`` begins thoughts that go on to the end of the text. A text without marks is returned
    unchanged.
    """
    if _START not in text and _END not in text:
        return text
    before, end, reply = text.rpartition(_END)
    lead = before.partition(_START)[0] if _START in before else ""
    reply = reply.partition(_START)[0]
    return f"{lead.strip()}\n\n{reply.strip()}".strip() if end else reply.strip()
