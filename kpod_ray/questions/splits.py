"""Seeded splits: test questions, the student's validation set, the token weighter's validation set.

Each split hashes a seed together with the question id, so that a question's side doesn't depend on the
order of the questions. The hashed texts differ between the splits, so that the splits are independent of
each other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from kpod_ray.errors import KpodError

COPY = re.compile(r"#\d+\Z")
"""Suffix of the id of a question's copy. A question with several rationales has a copy for each further
rationale, with the id ``ID#N``, where N is the sample index of the rationale."""


def check_test_questions(num_test: int) -> None:
    """Raise a `KpodError` if there is no test question, but phase ``evaluate`` is wanted."""
    if not num_test:
        raise KpodError(
            "there is no test question to evaluate on; set questions.test_path, "
            "questions.test_fraction or questions.num_test, or add --until train"
        )


def in_test_split(question_id: str, fraction: float, seed: int) -> bool:
    """Return whether a question belongs to the test split, by a hash of seed and id.

    The expected fraction of the questions in the test split is ``fraction``, in [0, 1]. A copy's suffix
    (see `COPY`) isn't removed from ``question_id``.
    """
    return hash_fraction(f"{seed}:{question_id}") < fraction


def in_validation_set(question_ids: Sequence[str], fraction: float, seed: int) -> list[bool]:
    """Return for each question id whether the question is in the student's validation set.

    The student isn't trained on questions of the validation set. All copies of a question (see `COPY`)
    are on the same side, so that no rationale of a validation question is trained on. A hash of seed and
    id decides each id by itself: ``fraction``, in [0, 1], is the expected fraction, and the set may be
    empty.
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

    ``question_ids`` has the id of the question, or of the question's copy, of each rationale. The
    validation set has the fraction ``fraction``, in (0, 1), of the rationales, rounded to whole
    rationales, but at most ``max_validation``, which is at least 1.

    Returns:
        Indices into ``question_ids`` of the training set, and of the validation set, both in the order
        of the hashes.
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
