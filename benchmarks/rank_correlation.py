"""Agreement of two sets of token weights in the order of the tokens."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr


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
