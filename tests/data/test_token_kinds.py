"""Kinds of tokens and the keypoints' share of the weight, by hand."""

import re

import numpy as np
import pytest

from kpod_ray.data.token_kinds import (
    FUNCTION_WORD,
    FUNCTION_WORDS,
    KEYPOINT,
    NUMBER_WORDS,
    OTHER,
    keypoint_share,
    token_kinds,
)


def kinds_of_words(text):
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    return token_kinds(text, *zip(*spans, strict=True)).tolist()


def test_kinds_by_hand():
    text = "The 3 boys had $12.50 + twelve = half of it"
    expected = [
        FUNCTION_WORD,
        KEYPOINT,
        OTHER,
        FUNCTION_WORD,
        KEYPOINT,
        KEYPOINT,
        KEYPOINT,
        KEYPOINT,
        KEYPOINT,
        FUNCTION_WORD,
        FUNCTION_WORD,
    ]
    assert kinds_of_words(text) == expected


def test_a_piece_of_a_word_is_judged_by_the_whole_word():
    text = "seventeen theorem"
    spans = [(0, 5), (5, 9), (10, 13), (13, 17)]  # "seven" "teen" "the" "orem"
    kinds = token_kinds(text, *zip(*spans, strict=True)).tolist()
    assert kinds == [KEYPOINT, KEYPOINT, OTHER, OTHER]


@pytest.mark.parametrize(
    ("text", "span", "kind"),
    [
        ("pull-out", (4, 5), OTHER),
        ("8-3", (1, 2), KEYPOINT),
        ("8 - 3", (1, 3), KEYPOINT),
        ("a. b", (1, 2), OTHER),
        ("2.5", (1, 2), OTHER),
        (" the", (0, 4), FUNCTION_WORD),
        ("x", (1, 1), OTHER),
    ],
)
def test_signs_blanks_and_empty_spans(text, span, kind):
    assert token_kinds(text, [span[0]], [span[1]]).tolist() == [kind]


def test_no_number_word_is_a_function_word():
    assert not NUMBER_WORDS & FUNCTION_WORDS
    assert all(word == word.lower() for word in NUMBER_WORDS | FUNCTION_WORDS)


def test_the_keypoint_share_by_hand():
    weights, is_keypoint = np.array([0.5, 0.25, 0.75, 0.5]), np.array([True, False, False, True])
    assert keypoint_share(weights, is_keypoint) == 0.5
    assert keypoint_share(np.ones(4), is_keypoint) == 0.5
    assert keypoint_share(weights, np.zeros(4, dtype=bool)) == 0


@pytest.mark.parametrize("num_tokens", [0, 2])
def test_no_weight_has_no_keypoint_share(num_tokens):
    assert keypoint_share(np.zeros(num_tokens), np.ones(num_tokens, dtype=bool)) is None
