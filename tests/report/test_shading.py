import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpod_ray.records import WeightedRationale
from kpod_ray.report.shading import keypoint_shares, keypoint_text, shade, shown_steps


def weighted(text, spans, step_ends):
    starts, ends, weights = zip(*spans, strict=True) if spans else ((), (), ())
    step_starts = (0, *step_ends[:-1])
    return WeightedRationale("q", text, starts, ends, weights, step_starts, step_ends)


def pieces_of(step):
    return [(piece.text, piece.weight) for piece in step.pieces]


def test_each_step_gets_its_tokens_and_its_difficulty():
    rationale = weighted("ab. cd.", [(0, 2, 0.1), (2, 3, 0.2), (3, 6, 0.3), (6, 7, 0.4)], (3, 7))
    first, second = shown_steps(rationale, (1.5, 2.5))
    assert pieces_of(first) == [("ab", 0.1), (".", 0.2)]
    assert pieces_of(second) == [(" cd", 0.3), (".", 0.4)]
    assert (first.difficulty, second.difficulty) == (1.5, 2.5)


def test_keypoint_shares_by_hand():
    # Keypoints 3 and =, of weights .9 and .5, among five tokens of weight 2 in all.
    spans = [(0, 2, 0.1), (3, 4, 0.9), (5, 6, 0.5), (7, 8, 0.3), (8, 9, 0.2)]
    rationale = weighted("so 3 = x.", spans, (9,))
    assert keypoint_shares(rationale) == pytest.approx((0.7, 0.4))
    text = "keypoints: 70.0\u00a0% of the weight, 40.0\u00a0% of the tokens"
    assert keypoint_text(rationale) == text


@pytest.mark.parametrize("spans", [[], [(0, 5, 1.0)], [(0, 1, 0.0), (4, 5, 0.0)]])
def test_uniform_and_missing_weights_have_no_keypoint_shares(spans):
    rationale = weighted("3 = x", spans, (5,))
    assert all(map(math.isnan, keypoint_shares(rationale)))
    assert keypoint_text(rationale) == ""


def test_characters_without_a_token_have_no_weight():
    (step,) = shown_steps(weighted("a b", [(0, 1, 0.1), (2, 3, 0.9)], (3,)), ())
    assert pieces_of(step) == [("a", 0.1), (" ", None), ("b", 0.9)]
    assert math.isnan(step.difficulty)


def test_a_token_over_a_step_boundary_is_cut_and_keeps_its_weight():
    first, second = shown_steps(weighted("ab", [(0, 2, 0.7)], (1, 2)), (1.0, 2.0))
    assert pieces_of(first) == [("a", 0.7)]
    assert pieces_of(second) == [("b", 0.7)]


def test_characters_of_several_tokens_belong_to_the_first():
    (step,) = shown_steps(weighted("€", [(0, 1, 0.2), (0, 1, 0.8)], (1,)), (1.0,))
    assert pieces_of(step) == [("€", 0.2)]


@given(
    st.text(max_size=30),
    st.lists(st.tuples(st.integers(-2, 40), st.integers(-2, 40), st.floats(0, 1)), max_size=12),
    st.lists(st.integers(0, 40), max_size=6),
)
def test_the_pieces_join_to_the_text_whatever_the_spans(text, spans, step_ends):
    steps = shown_steps(weighted(text, spans, tuple(sorted(step_ends))), ())
    assert "".join(piece.text for step in steps for piece in step.pieces) == text


@pytest.mark.parametrize(
    ("weight", "strength"),
    [
        (0.0, 0.0),
        (0.25, 0.25),
        (1.0, 1.0),
        (1.2, 1.0),
        (-0.1, 0.0),
        (math.nan, 0.0),
        (math.inf, 0.0),
    ],
)
def test_a_shade_is_the_weight_whatever_the_other_weights_are(weight, strength):
    assert shade(weight) == strength
    (step,) = shown_steps(weighted("ab", [(0, 1, weight), (1, 2, 0.9)], (2,)), ())
    assert [piece.shade for piece in step.pieces] == [strength, 0.9]
