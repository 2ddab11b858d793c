"""Token weights by a rule: a token with a digit or an operator weighs 1, other tokens less."""

from __future__ import annotations

from typing import Any

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.data.examples import encode_with_spans
from kpod_ray.data.token_kinds import OPERATORS
from kpod_ray.records import Rationale, WeightedRationale


def hand_weighted(
    rationale: Rationale, tokenizer: Any, plain_weight: float, *, split_newlines: bool
) -> WeightedRationale:
    """Split a rationale into reasoning steps and weigh its tokens: 1 with a digit or an operator.

    The white space before a token is no part of its span, except for a token of white space alone. The
    text isn't truncated.

    Args:
        rationale: the rationale.
        tokenizer: fast tokenizer of the student, whose tokens are the weighted spans.
        plain_weight: weight of a token without digit and operator, from 0 to 1.
        split_newlines: whether newlines end reasoning steps.
    """
    text = rationale.text
    _, starts, ends = encode_with_spans(tokenizer, text)
    spans = list(zip(starts.tolist(), ends.tolist(), strict=True))
    steps = split_steps(text, split_newlines=split_newlines)
    return WeightedRationale(
        question_id=rationale.question_id,
        text=text,
        token_starts=[start for start, _ in spans],
        token_ends=[end for _, end in spans],
        token_weights=[
            1.0 if has_digit_or_operator(text[start:end]) else plain_weight for start, end in spans
        ],
        step_starts=[start for start, _ in steps],
        step_ends=[end for _, end in steps],
    )


def has_digit_or_operator(text: str) -> bool:
    """Return whether a text contains a digit (``str.isdigit``) or one of the `OPERATORS`.

    The operators are ``+-*/=<>^%`` and the Unicode signs for times, division and minus.
    """
    return any(character.isdigit() or character in OPERATORS for character in text)
