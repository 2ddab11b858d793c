import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpod_ray.algorithm.duplicates import duplicates, jaccard_index, most_diverse, word_triples

texts = st.lists(st.text("ab c", max_size=12), max_size=6)


def test_triples_are_of_words_and_signs_in_lower_case():
    assert word_triples("The cat = 5.") == {("the", "cat", "="), ("cat", "=", "5"), ("=", "5", ".")}
    assert word_triples("It is") == {("it", "is")}
    assert word_triples(" ") == {()}


@pytest.mark.parametrize(
    ("first", "second", "index"),
    [
        ("a b c d", "a b c d", 1.0),
        ("a b c d", "A  B\nC D", 1.0),
        ("a b c d", "a b c e", 1 / 3),
        ("a b c", "d e f", 0.0),
        ("", "", 1.0),
        ("a", "", 0.0),
    ],
)
def test_jaccard_index_by_hand(first, second, index):
    assert jaccard_index(word_triples(first), word_triples(second)) == pytest.approx(index)


def test_only_white_space_and_case_may_differ_unless_near_ones_count():
    given_texts = ["It is 5.", "it  is 5.", "It is 5!", "It is 5."]
    assert duplicates(given_texts, None) == [False, True, False, True]
    assert duplicates(["a b c d", "a b c e"], 0.4) == [False, False]
    assert duplicates(["a b c d", "a b c e"], 1 / 3) == [False, True]


@given(texts, st.one_of(st.none(), st.floats(0.01, 1)))
def test_what_is_left_has_no_duplicates_and_the_first_is_never_one(given_texts, near):
    found = duplicates(given_texts, near)
    left = [text for text, is_duplicate in zip(given_texts, found, strict=True) if not is_duplicate]
    assert not any(duplicates(left, near))
    assert found[:1] != [True]
    if near is not None:
        for a, b in itertools.combinations(map(word_triples, left), 2):
            assert jaccard_index(a, b) < near


@given(texts, st.integers(1, 7))
def test_the_most_diverse_are_distinct_and_two_of_them_are_the_best_pair(given_texts, num):
    chosen = most_diverse(given_texts, num)
    assert len(chosen) == len(set(chosen)) == min(num, len(given_texts))
    if 2 <= num < len(given_texts):
        triples = [word_triples(text) for text in given_texts]
        best = min(jaccard_index(a, b) for a, b in itertools.combinations(triples, 2))
        assert jaccard_index(triples[chosen[0]], triples[chosen[1]]) == best


def test_one_alone_is_the_one_least_like_the_others():
    assert most_diverse(["a b c d", "a b c e", "x y z"], 1) == [2]
    assert most_diverse(["a b c d", "a b c e", "x y z"], 2) == [0, 2]
