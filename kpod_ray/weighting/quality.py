"""Label-free quality metrics of token weights.

The metrics classify tokens by their text: a keypoint (a token with a digit, an operator or a part of a
number word) should weigh more than a function word, whatever the question. All other tokens are left out
of the comparison. Further metrics compare the ranks of two sets of weights and detect collapse.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

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
LOWEST_MEAN = 0.05
"""Mean token weight below which nearly all tokens are masked."""
HIGHEST_MEAN = 0.99
"""Mean token weight above which nearly no token is masked."""
SMALLEST_SPREAD = 0.005
"""Standard deviation of token weights below which all tokens weigh nearly the same."""


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
    before, after = text[:start][-1:], text[end:][:1]
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


def ranking_auc(
    token_weights: npt.NDArray[np.float64], kinds: npt.NDArray[np.int64]
) -> float | None:
    """Return the probability that a keypoint weighs more than a function word; a tie counts one half.

    The probability is the area under the ROC curve, in [0, 1]. The result is None if one of the two
    kinds is missing, or if a compared weight is NaN. ``kinds``, [N], comes from `token_kinds`.
    """
    is_compared = kinds != OTHER
    is_keypoint = kinds[is_compared] == KEYPOINT
    compared = token_weights[is_compared]
    if is_keypoint.all() or not is_keypoint.any() or np.isnan(compared).any():
        return None
    return float(roc_auc_score(is_keypoint, compared))


def mean_weight(
    token_weights: npt.NDArray[np.float64], kinds: npt.NDArray[np.int64], kind: int
) -> float | None:
    """Return the mean weight of the tokens of a kind; None without such a token.

    ``kinds``, [N], comes from `token_kinds`; ``kind`` is `KEYPOINT`, `FUNCTION_WORD` or `OTHER`.
    """
    chosen = token_weights[kinds == kind]
    return float(chosen.mean()) if len(chosen) else None


def rank_correlation(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> float | None:
    """Return Spearman's rank correlation, in [-1, 1], of two sets of weights of the same N tokens.

    The result is None if there is no token, or all weights of one set are equal, as for a single token;
    else NaN if a weight is NaN.
    """
    if not len(first) or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)


def keep_highest(scores: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float32]:
    """Return a mask, [N] float32, with 1 at the highest of N scores and 0 at the others.

    ``share``, from 0 to 1, is the fraction of ones, whose number is rounded up. Of equal scores the
    earlier is chosen.
    """
    mask = np.zeros(len(scores), dtype=np.float32)
    mask[np.argsort(-scores, kind="stable")[: math.ceil(share * len(scores))]] = 1
    return mask


def collapse_of(token_weights: npt.NDArray[np.float64]) -> str | None:
    """Return a description of how token weights have collapsed; None if the weights are sound.

    The weights of the tokens of all validation rationales together, at least one, have collapsed if
    their mean is below `LOWEST_MEAN` or above `HIGHEST_MEAN`, their standard deviation (of the
    population) is below `SMALLEST_SPREAD`, or one of them is NaN.
    """
    if np.isnan(token_weights).any():
        return "some token weights are no numbers"
    mean, spread = float(token_weights.mean()), float(token_weights.std())
    if mean < LOWEST_MEAN:
        return f"nearly all tokens are masked (mean weight {mean:.3f})"
    if mean > HIGHEST_MEAN:
        return f"nearly no token is masked (mean weight {mean:.3f})"
    if spread < SMALLEST_SPREAD:
        return f"all tokens weigh nearly the same (standard deviation {spread:.4f})"
    return None
