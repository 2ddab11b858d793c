"""Duplicates among texts, and those that differ most."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpod_ray.teacher.sample_comparison import duplicates, jaccard_index, most_diverse, word_triples

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


def test_a_near_duplicate_is_compared_with_no_later_text():
    # 0 and 1 share 3 of 5 triples, 1 and 2 as well, 0 and 2 only 2 of 6.
    chain = ["a b c d e f", "b c d e f g", "c d e f g h"]
    assert duplicates(chain, 0.6) == [False, True, False]
    assert duplicates(chain[1:], 0.6) == [False, True]


def test_texts_shorter_than_three_words_are_compared_whole():
    assert duplicates(["It is", "It was", "it  IS", "", " "], 0.1) == [
        False,
        False,
        True,
        False,
        True,
    ]


def in_common(given_texts):
    triples = [word_triples(text) for text in given_texts]
    return [[jaccard_index(a, b) for b in triples] for a in triples]


@given(texts, st.integers(2, 7))
def test_the_most_diverse_are_what_trying_every_text_at_each_place_gives(given_texts, num):
    chosen, shared = most_diverse(given_texts, num), in_common(given_texts)
    everyone = range(len(given_texts))
    if num >= len(given_texts):
        assert chosen == list(everyone)
        return
    best = min(itertools.combinations(everyone, 2), key=lambda pair: shared[pair[0]][pair[1]])
    expected = list(best)
    while len(expected) < num:
        others = [i for i in everyone if i not in expected]
        expected.append(min(others, key=lambda i: max(shared[i][j] for j in expected)))
    assert chosen == expected


@given(texts.filter(bool))
def test_one_alone_is_the_one_least_like_all(given_texts):
    sums = [sum(row) for row in in_common(given_texts)]
    (chosen,) = most_diverse(given_texts, 1)
    assert sums[chosen] == pytest.approx(min(sums))


def test_one_alone_and_two_by_hand():
    assert most_diverse(["a b c d", "a b c e", "x y z"], 1) == [2]
    assert most_diverse(["a b c d", "a b c e", "x y z"], 2) == [0, 2]


def test_of_texts_that_are_all_alike_or_all_different_the_first_are_chosen():
    for alike in (["a b c"] * 5, ["a", "b", "c", "d", "e"]):
        assert [most_diverse(alike, num) for num in (1, 3)] == [[0], [0, 1, 2]]
