"""Label-free quality metrics of token weights.

The metrics classify tokens by their text (`token_kinds`): a keypoint should weigh more than a function
word, whatever the question. All other tokens are left out of the comparison. `collapse_of` detects that
training has failed.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from kpod_ray.data.token_kinds import KEYPOINT, OTHER

LOWEST_MEAN = 0.05
"""Mean token weight below which nearly all tokens are masked."""
HIGHEST_MEAN = 0.99
"""Mean token weight above which nearly no token is masked."""
SMALLEST_SPREAD = 0.005
"""Standard deviation of token weights below which all tokens weigh nearly the same."""


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
