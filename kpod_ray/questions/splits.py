"""Seeded choices among questions: the test split, the student's and the weighter's validation sets.

Each choice compares hashes of a seed and of ids, so that the order of the questions changes nothing.
The text that is hashed differs between the choices, so that the choices are independent.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

COPY = re.compile(r"#\d+\Z")
"""End of the id of a question's copy, under which another of its rationales goes on."""


def in_test_split(question_id: str, fraction: float, seed: int) -> bool:
    """Tell whether a question belongs to the fraction of the questions that are for tests."""
    return hash_fraction(f"{seed}:{question_id}") < fraction


def in_validation_set(question_ids: Sequence[str], fraction: float, seed: int) -> list[bool]:
    """Tell which questions the student is validated on, and never trained.

    The copies of a question, see `Rationale`, go together.
    """
    originals = (COPY.sub("", question_id) for question_id in question_ids)
    return [hash_fraction(f"{seed}:validation:{original}") < fraction for original in originals]


def split_for_weighting(
    question_ids: Sequence[str], fraction: float, max_validation: int, seed: int
) -> tuple[list[int], list[int]]:
    """Split the weighter's rationales, one for each id, into training and validation.

    At least one rationale is for validation; a single rationale serves as both.

    Args:
        question_ids: ids of the rationales' questions.
        fraction: share of the rationales that is for validation, in (0, 1).
        max_validation: most rationales for validation.
        seed: seed of the choice.

    Returns:
        Indices of the rationales for training, and of those for validation.
    """
    order = sorted(
        range(len(question_ids)), key=lambda i: hash_fraction(f"{seed}/{question_ids[i]}")
    )
    if len(order) == 1:
        return order, order
    num_validation = min(max_validation, max(1, round(len(order) * fraction)), len(order) - 1)
    return order[num_validation:], order[:num_validation]


def hash_fraction(text: str) -> float:
    """Return a number in [0, 1) that a text determines, on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
