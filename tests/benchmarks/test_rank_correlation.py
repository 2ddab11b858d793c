"""Rank correlation against values worked out by hand and against Pearson's of counted ranks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.rank_correlation import rank_correlation

WEIGHTS = st.lists(st.integers(0, 4).map(lambda n: n / 4), min_size=2, max_size=30)


def test_rank_correlation_by_hand():
    up = np.array([0.1, 0.2, 0.4, 0.8])
    assert rank_correlation(up, np.exp(9 * up)) == pytest.approx(1)
    assert rank_correlation(up, -up) == pytest.approx(-1)
    # Ranks 1 2 3 4 and 1 2 4 3: one pair swapped, 1 - 6 * 2 / (4 * 15).
    assert rank_correlation(up, np.array([1, 2, 4, 3])) == pytest.approx(0.8)
    assert rank_correlation(up, np.ones(4)) is None
    assert rank_correlation(np.array([]), np.array([])) is None
    assert rank_correlation(np.ones(4), up) is None


def test_equal_weights_share_the_mean_of_their_ranks():
    # Ranks 2.5 1 2.5 4 and 1 2 3 4: covariance 0 + .75 + 0 + 2.25 = 3, sums of squares 4.5 and 5.
    values = np.array([0.3, 0.1, 0.3, 0.9]), np.array([0.1, 0.2, 0.3, 0.4])
    assert rank_correlation(*values) == pytest.approx(3 / math.sqrt(4.5 * 5))


@given(first=WEIGHTS, seed=st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_rank_correlation_is_pearson_s_correlation_of_counted_ranks(first, seed):
    values = np.array(first)
    second = np.random.default_rng(seed).integers(0, 4, len(first)).astype(float)
    ours = rank_correlation(values, second)
    if len(set(first)) == 1 or len(set(second.tolist())) == 1:
        assert ours is None
    else:
        # The mean rank of equal values: those below, and half of the equal ones.
        ranks = [[np.sum(v < x) + np.sum(v == x) / 2 for x in v] for v in (values, second)]
        assert ours == pytest.approx(np.corrcoef(*ranks)[0, 1])
