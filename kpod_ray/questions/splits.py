"""Questions from the built-in generator, a file or the hub, as records that later code can trust.

Ids are unique over both splits. A row that can't be used is set aside with its place and reason;
more of them than the config bears, and anything wrong with the whole, is a `KpodError`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

COPY = re.compile(r"#\d+\Z")
"""End of the id of a question's copy, under which another of its rationales goes on."""


def in_validation_set(question_ids: Sequence[str], fraction: float, seed: int) -> list[bool]:
    """Tell which questions are never trained on; the copies of one go together, see `Rationale`."""
    originals = (COPY.sub("", question_id) for question_id in question_ids)
    return [hash_fraction(f"validation:{original}", seed) < fraction for original in originals]


def hash_fraction(question_id: str, seed: int) -> float:
    """Return a number in [0, 1) that an id and a seed determine."""
    digest = hashlib.sha256(f"{seed}:{question_id}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def hold_back(
    question_ids: Sequence[str], fraction: float, most: int, seed: int
) -> tuple[list[int], list[int]]:
    """Split rationales into training and validation by a seeded hash of their question's id.

    At least one is held back; a single rationale serves as both.

    Returns:
        Indices to train on, and indices held back.
    """
    order = sorted(range(len(question_ids)), key=lambda i: _hash(seed, question_ids[i]))
    if len(order) == 1:
        return order, order
    num_held = min(most, max(1, round(len(order) * fraction)), len(order) - 1)
    return order[num_held:], order[:num_held]


def _hash(seed: int, question_id: str) -> str:
    return hashlib.sha256(f"{seed}/{question_id}".encode()).hexdigest()
