"""Ids of questions without one: a hash of the content, the same in whatever order the rows come."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence

from kpod_ray.records import Question, Split


def normal_text(text: str) -> str:
    """Return a text in Unicode's composed form (NFC), with one blank for each run of white space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def content_id(question: str, choices: Sequence[str], split: Split) -> str:
    """Return the id of a question without one: ``q-`` and 16 hex digits of a SHA-256.

    Hashed are the split and the texts of the question and of its choices, in their order, each as
    `normal_text`. The answer isn't hashed, so that a question with two answers is found. The splits have
    different ids: a training question may repeat a test question, which is reported and no error.
    """
    content = [split, normal_text(question), *map(normal_text, choices)]
    text = json.dumps(content, ensure_ascii=False)
    return f"q-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def has_content_id(question: Question) -> bool:
    """Return whether the question, with the split of its row, has the id that its content gives."""
    return question.id == content_id(question.question, question.choices, question.split)
