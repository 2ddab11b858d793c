"""What of an example a student is trained on: whole target or answer alone, and with which weights.

An example holds the learned weights; the objectives of other methods are made from it here, so that
one corpus serves them all.
"""

from __future__ import annotations

import dataclasses

from kpod_ray.config import StudentConfig
from kpod_ray.data.examples import Example


def training_example(example: Example, student: StudentConfig) -> Example:
    """Return an example as a student's settings want it trained on."""
    if student.token_weights in ("uniform", "probability"):
        example = with_plain_weights(example, 1.0, is_plain=[True] * len(example.target_ids))
    elif student.token_weights == "symbols":
        is_plain = [not is_symbol for is_symbol in example.token_is_symbol]
        example = with_plain_weights(example, student.plain_token_weight, is_plain)
    return answer_alone(example) if student.target == "answer" else example


def with_plain_weights(example: Example, weight: float, is_plain: list[bool]) -> Example:
    """Give the plain tokens of the rationale one weight, and 1 to all other tokens."""
    weights = [
        weight if plain and step < example.num_steps else 1.0
        for plain, step in zip(is_plain, example.token_steps, strict=True)
    ]
    return dataclasses.replace(example, token_weights=weights)


def answer_alone(example: Example) -> Example:
    """Leave the rationale out: the answer segment follows the question at once."""
    kept = [j for j, step in enumerate(example.token_steps) if step >= example.num_steps]
    return dataclasses.replace(
        example,
        target_ids=[example.target_ids[j] for j in kept],
        token_weights=[example.token_weights[j] for j in kept],
        token_steps=[example.token_steps[j] for j in kept],
        token_is_symbol=[example.token_is_symbol[j] for j in kept],
    )
