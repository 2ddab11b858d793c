"""Token weights from the ranks of scores: their spread doesn't depend on how the scores are spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata


def rank_weights(scores: npt.NDArray[np.float64], floor: float) -> npt.NDArray[np.float64]:
    """Return token weights by the ranks of scores: w = floor + (1 - floor) * quantile, [N].

    The quantile of a score is (rank - 0.5) / N, where the rank counts from 1 and equal scores share the
    mean of their ranks. The weights lie between ``floor`` and 1, and their mean is (1 + floor) / 2. Only
    the order of the scores matters. ``scores``, [N], are those of all tokens of the corpus, such as raw
    token weights (w of Eq. 3) or mean ranks over several weighters; N may be 0.

    Raises:
        ValueError: A score is NaN, or the floor isn't from 0 to 1.
    """
    if not 0 <= floor <= 1:
        raise ValueError(f"the floor of token weights is {floor}; it must be from 0 to 1")
    if np.isnan(scores).any():
        raise ValueError("a score is NaN and has no rank")
    quantiles = (rankdata(scores) - 0.5) / max(1, len(scores))
    weights: npt.NDArray[np.float64] = floor + (1 - floor) * quantiles
    return weights


def mean_ranks(
    weighters: Sequence[Sequence[npt.NDArray[np.float64]]],
) -> list[npt.NDArray[np.float64]]:
    """Return the mean over several weighters of each token's quantile within the corpus.

    The quantile is that of `rank_weights`. The weights of a single weighter are returned as they are.

    Args:
        weighters: for each weighter, at least one, the weights of each rationale's tokens; all weighters
            have the same rationales, at least one.

    Returns:
        One array for each rationale, in (0, 1).

    Raises:
        ValueError: A weight is NaN.
    """
    if len(weighters) == 1:
        return list(weighters[0])
    quantiles = np.mean([rank_weights(np.concatenate(rows), 0.0) for rows in weighters], axis=0)
    ends = np.cumsum([len(row) for row in weighters[0]])
    return np.split(quantiles, ends[:-1])
