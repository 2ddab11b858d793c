"""Weights by rank: hand values, ties, and the invariants of ranks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.algorithm.rank_weights import mean_ranks, rank_weights

SCORES = st.lists(st.integers(-9, 9).map(lambda n: n / 4), min_size=1, max_size=40)
FLOORS = st.sampled_from([0.0, 0.1, 0.5, 1.0])


def test_ranks_and_ties_by_hand():
    # Ranks 3, 1.5, 4, 1.5 of four: quantiles .625, .25, .875, .25; times .8, plus .2.
    weights = rank_weights(np.array([0.7, 0.1, 0.9, 0.1]), 0.2)
    assert weights.tolist() == pytest.approx([0.7, 0.4, 0.9, 0.4])


def test_equal_scores_get_the_middle_and_no_scores_get_nothing():
    assert rank_weights(np.full(5, 0.3), 0.1).tolist() == pytest.approx([0.55] * 5)
    assert rank_weights(np.array([2.0]), 0.0).tolist() == [0.5]
    assert rank_weights(np.array([]), 0.1).tolist() == []


@given(scores=SCORES, floor=FLOORS)
@settings(max_examples=100, deadline=None)
def test_a_weight_counts_the_scores_below(scores, floor):
    weights = rank_weights(np.array(scores), floor)
    for score, weight in zip(scores, weights.tolist(), strict=True):
        below, equal = sum(s < score for s in scores), sum(s == score for s in scores)
        assert weight == pytest.approx(floor + (1 - floor) * (below + equal / 2) / len(scores))
    assert weights.mean() == pytest.approx((1 + floor) / 2)
    assert ((weights >= floor) & (weights <= 1)).all()


@given(scores=SCORES)
@settings(max_examples=50, deadline=None)
def test_only_the_order_matters(scores):
    values = np.array(scores)
    np.testing.assert_array_equal(rank_weights(np.exp(values), 0.1), rank_weights(values, 0.1))


@pytest.mark.parametrize("floor", [-0.1, 1.1, float("nan")])
def test_a_floor_outside_0_to_1_is_refused(floor):
    with pytest.raises(ValueError, match="from 0 to 1"):
        rank_weights(np.ones(2), floor)


def test_a_score_without_a_rank_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        rank_weights(np.array([0.5, np.nan]), 0.1)


def test_mean_ranks_by_hand():
    first = [np.array([0.1, 0.9]), np.array([0.5])]  # quantiles 1/6, 5/6, 1/2
    second = [np.array([7.0, 7.0]), np.array([-1.0])]  # quantiles 2/3, 2/3, 1/6
    mean = mean_ranks([first, second])
    assert [row.tolist() for row in mean] == [
        pytest.approx([5 / 12, 3 / 4]),
        pytest.approx([1 / 3]),
    ]


def test_the_weights_of_one_weighter_stay():
    weights = [np.array([0.3, 0.8]), np.array([0.5])]
    assert [row.tolist() for row in mean_ranks([weights])] == [[0.3, 0.8], [0.5]]
