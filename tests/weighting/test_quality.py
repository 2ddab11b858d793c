"""Measures of token weights against slow references."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.data.token_kinds import FUNCTION_WORD, KEYPOINT, OTHER
from kpod_ray.weighting.quality import (
    collapse_of,
    keep_highest,
    mean_weight,
    ranking_auc,
)

WEIGHTS = st.lists(st.integers(0, 4).map(lambda n: n / 4), min_size=2, max_size=30)


def test_auc_with_a_tie_by_hand():
    # Keypoints .9 and .5 against function words .5 and .1: three wins and a tie of four pairs.
    weights = np.array([0.9, 0.5, 0.5, 0.1, 0.0, 1.0])
    kinds = np.array([KEYPOINT, KEYPOINT, FUNCTION_WORD, FUNCTION_WORD, OTHER, OTHER])
    assert ranking_auc(weights, kinds) == pytest.approx(3.5 / 4)


@pytest.mark.parametrize("kind", [KEYPOINT, FUNCTION_WORD, OTHER])
def test_auc_needs_both_kinds(kind):
    assert ranking_auc(np.array([0.1, 0.2]), np.array([kind, kind])) is None


def test_mean_weights_by_hand():
    weights, kinds = np.array([0.9, 0.5, 0.1]), np.array([KEYPOINT, KEYPOINT, OTHER])
    assert mean_weight(weights, kinds, KEYPOINT) == pytest.approx(0.7)
    assert mean_weight(weights, kinds, OTHER) == pytest.approx(0.1)
    assert mean_weight(weights, kinds, FUNCTION_WORD) is None


@given(weights=WEIGHTS, seed=st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_auc_is_the_share_of_pairs_that_a_keypoint_wins(weights, seed):
    kinds = np.random.default_rng(seed).integers(-1, 2, len(weights))
    values = np.array(weights)
    auc = ranking_auc(values, kinds)
    pairs = list(itertools.product(values[kinds == KEYPOINT], values[kinds == FUNCTION_WORD]))
    if not pairs:
        assert auc is None
    else:
        wins = sum(1.0 if high > low else 0.5 if high == low else 0.0 for high, low in pairs)
        assert auc == pytest.approx(wins / len(pairs))


def test_the_highest_are_kept_rounded_up_and_of_equal_ones_the_earlier():
    assert keep_highest(np.array([0.1, 0.9, 0.5]), 0.5).tolist() == [0, 1, 1]
    assert keep_highest(np.array([0.5, 0.5, 0.5]), 0.5).tolist() == [1, 1, 0]
    assert keep_highest(np.array([0.1, 0.9]), 0.0).tolist() == [0, 0]
    assert keep_highest(np.array([0.1, 0.9]), 1.0).tolist() == [1, 1]


@given(weights=WEIGHTS)
@settings(max_examples=50, deadline=None)
def test_nothing_that_is_masked_weighs_more_than_what_is_kept(weights):
    values = np.array(weights)
    mask = keep_highest(values, 0.5)
    assert mask.sum() == (len(values) + 1) // 2
    if not mask.all():
        assert values[mask == 1].min() >= values[mask == 0].max()


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([0.001, 0.02, 0.04], "nearly all tokens are masked"),
        ([0.999, 0.998, 0.9999], "nearly no token is masked"),
        ([0.5, 0.501, 0.502], "weigh nearly the same"),
        ([0.1, np.nan, 0.9], "are no numbers"),
    ],
)
def test_a_collapse_is_named(weights, words):
    assert words in collapse_of(np.array(weights))


@pytest.mark.parametrize("weights", [[0.03, 0.9, 0.5], [0.9, 0.97, 0.8]])
def test_sound_weights_are_no_collapse(weights):
    assert collapse_of(np.array(weights)) is None


def test_weights_that_are_no_numbers_have_no_auc():
    kinds = np.array([KEYPOINT, FUNCTION_WORD, KEYPOINT, OTHER])
    assert ranking_auc(np.array([np.nan, 0.5, 0.9, 0.1]), kinds) is None
    assert ranking_auc(np.array([0.2, 0.5, 0.9, np.nan]), kinds) == 0.5
