"""Kinds of tokens by their text alone: keypoints, function words, and all others.

A keypoint is a token with a digit, an operator or a part of a number word. The kinds judge token weights
without labels; they aren't used to compute weights.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

KEYPOINT, FUNCTION_WORD, OTHER = 1, 0, -1
"""Kinds of tokens; `FUNCTION_WORDS` lists the function words."""
OPERATORS = frozenset("+-*/=<>^%\u00d7\u00f7\u2212")
"""Characters that are arithmetic operators."""
NUMBER_WORDS = frozenset(
    re.findall(
        "[a-z]+",
        """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
        fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty
        ninety hundred thousand million billion half halves third thirds quarter quarters dozen dozens
        twice double triple""",
    )
)
FUNCTION_WORDS = frozenset(
    re.findall(
        "[a-z]+",
        """a an the of and or but nor so if then than that this these those there here it its he him his
        she her hers they them their we us our you your i me my who whom whose which what when where
        why how is are was were be been being am do does did has have had having will would can could
        shall should may might must to in on at by for from with into onto upon as up down out off
        over under about after before again not no yes also just only very too such some any all each
        both either neither while because since until though although through during between per""",
    )
)


def token_kinds(text: str, starts: Sequence[int], ends: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return `KEYPOINT`, `FUNCTION_WORD` or `OTHER` for each token of a text, [N].

    Keypoints are tokens with a digit, tokens of operators alone (except between two letters, as in
    "pull-out"), and all parts of the `NUMBER_WORDS`. All parts of the `FUNCTION_WORDS` are function
    words. Upper and lower case are equal. A token spans the characters from its element of
    ``starts`` up to that of ``ends`` (excluded), [N] each; other lengths raise a ValueError.
    """
    kinds = [_kind(text, start, end) for start, end in zip(starts, ends, strict=True)]
    return np.array(kinds, dtype=np.int64)


def _kind(text: str, start: int, end: int) -> int:
    piece = text[start:end].strip()
    if any(character.isdigit() for character in piece):
        return KEYPOINT
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    joins_letters = before.isalpha() and after.isalpha()  # the hyphen of "pull-out"
    if piece and set(piece) <= OPERATORS:
        return OTHER if joins_letters else KEYPOINT
    word = _word_around(text, start, end)
    if word in NUMBER_WORDS:
        return KEYPOINT
    return FUNCTION_WORD if word in FUNCTION_WORDS else OTHER


def _word_around(text: str, start: int, end: int) -> str:
    """Return the whole word, in lower case, that a span is a part of."""
    while text[start - 1 : start].isalpha() and text[start : start + 1].isalpha():
        start -= 1
    while text[end - 1 : end].isalpha() and text[end : end + 1].isalpha():
        end += 1
    return text[start:end].strip().lower()


def keypoint_share(
    token_weights: npt.NDArray[np.float64], is_keypoint: npt.NDArray[np.bool_]
) -> float | None:
    """Return the keypoints' part of the total weight of N tokens, in [0, 1]; None if the total is 0.

    ``is_keypoint``, [N], is true for the tokens of kind `KEYPOINT`.
    """
    total = float(token_weights.sum())
    return float(token_weights[is_keypoint].sum()) / total if total else None
