"""Seeded splits: test questions, the student's validation set, the token weighter's validation set.

Each split hashes a seed together with the question id, so that a question's side doesn't depend on the
order of the questions. The hashed texts differ between the splits, so that the splits are independent of
each other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

COPY = re.compile(r"#\d+\Z")
"""Suffix of the id of a question's copy. A question with several rationales has a copy for each further
rationale, with the id ``ID#N``, where N is the sample index of the rationale."""


def in_test_split(question_id: str, fraction: float, seed: int) -> bool:
    """Return whether a question belongs to the test split.

    Args:
        question_id: id of the question, without a copy's suffix (see `COPY`), which isn't removed here.
        fraction: expected fraction of the questions in the test split, in [0, 1].
        seed: seed of the split.
    """
    return hash_fraction(f"{seed}:{question_id}") < fraction


def in_validation_set(question_ids: Sequence[str], fraction: float, seed: int) -> list[bool]:
    """Return, for each question, whether it belongs to the student's validation set.

    The student isn't trained on questions of the validation set. All copies of a question (see `COPY`)
    are on the same side, so that no rationale of a validation question is trained on. Each id is decided
    by itself; the set may be empty.

    Args:
        question_ids: ids of questions and of copies, in any order.
        fraction: expected fraction of the questions in the validation set, in [0, 1].
        seed: seed of the split.

    Returns:
        One value for each id, in the order of ``question_ids``.
    """
    originals = (COPY.sub("", question_id) for question_id in question_ids)
    return [hash_fraction(f"{seed}:validation:{original}") < fraction for original in originals]


def split_for_weighting(
    question_ids: Sequence[str], fraction: float, max_validation: int, seed: int
) -> tuple[list[int], list[int]]:
    """Split the rationales of the token weighter into a training and a validation set.

    Each set has at least one rationale; a single rationale is in both; without rationales, both are
    empty. Copies of a question (see `COPY`) count as questions of their own and may be on different
    sides.

    Args:
        question_ids: id of the question, or of the question's copy, of each rationale.
        fraction: fraction of the rationales in the validation set, in (0, 1), rounded to whole
            rationales.
        max_validation: largest number of rationales in the validation set, at least 1.
        seed: seed of the split.

    Returns:
        Indices into ``question_ids`` of the training set, and of the validation set; each in the order
        of the hashes, not of the ids.
    """
    order = sorted(
        range(len(question_ids)), key=lambda i: hash_fraction(f"{seed}/{question_ids[i]}")
    )
    if len(order) == 1:
        return order, order
    num_validation = min(max_validation, max(1, round(len(order) * fraction)), len(order) - 1)
    return order[num_validation:], order[:num_validation]


def hash_fraction(text: str) -> float:
    """Return a pseudo-random number in [0, 1) that depends on the text alone, not on the machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
