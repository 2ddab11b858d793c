"""Reasoning steps: where they end, what they never cut, and which tokens are theirs."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.algorithm.steps import sentence_ends, split_steps, steps_of_tokens
from tests.conftest import SHARED_DATA
from tests.json_lines import read_lines

WORDS = ["He has", " apples", " 3", ".5", " $1.50", "e.g.", "Mr.", "No. 4", "1. ", "2) ", "é", "="]
MARKS = [".", ". ", "...", "\n", "\n\n", "\r\n", " ", '"', ")", "-", "。"]
RATIONALE_LIKE = st.lists(st.sampled_from(WORDS + MARKS), max_size=40).map("".join)
TEXTS = st.one_of(st.text(max_size=200), RATIONALE_LIKE)


def pieces(text: str, *, split_newlines: bool = True) -> list[str]:
    return [text[start:end] for start, end in split_steps(text, split_newlines=split_newlines)]


@given(text=TEXTS, split_newlines=st.booleans())
@settings(max_examples=200, deadline=None)
def test_steps_are_non_empty_adjoin_and_cover_the_text(text, split_newlines):
    spans = split_steps(text, split_newlines=split_newlines)
    boundaries = [0, *(end for _, end in spans)]
    assert spans == list(pairwise(boundaries))
    assert boundaries == sorted(set(boundaries))
    assert boundaries[-1] == len(text)


@given(text=TEXTS, split_newlines=st.booleans())
@settings(max_examples=200, deadline=None)
def test_no_step_of_several_has_fewer_than_two_words_or_numbers(text, split_newlines):
    steps = pieces(text, split_newlines=split_newlines)
    if len(steps) > 1:
        assert all(len(re.findall(r"[^\W\d_]+|\d+", step)) >= 2 for step in steps)


@given(text=TEXTS.map(lambda text: re.sub(r"[\n\r]", " ", text)))
@settings(max_examples=100, deadline=None)
def test_a_text_on_one_line_has_the_same_steps_with_and_without_newline_splitting(text):
    assert pieces(text, split_newlines=True) == pieces(text, split_newlines=False)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", []),
        ("no full stop", ["no full stop"]),
        ("He has 2. She has 3.", ["He has 2.", " She has 3."]),
        ("It costs 3.5 dollars. Then .3 remain", ["It costs 3.5 dollars.", " Then .3 remain"]),
        ("He pays $1.50. She pays $2.", ["He pays $1.50.", " She pays $2."]),
        ("Wait for it... Now go on.", ["Wait for it...", " Now go on."]),
        ('He said "go on." She left.', ['He said "go on."', " She left."]),
        ("He left (at 5.) She stayed.", ["He left (at 5.)", " She stayed."]),
        ("**He has 2.** She has 3.", ["**He has 2.**", " She has 3."]),
        ("One two.Three four.", ["One two.", "Three four."]),
        ("Ask Mr. Smith and Mrs. Hilt.", ["Ask Mr. Smith and Mrs. Hilt."]),
        ("Dr. Who vs. the rest. So be it.", ["Dr. Who vs. the rest.", " So be it."]),
        ("Fruit, e.g. apples, i.e. food.", ["Fruit, e.g. apples, i.e. food."]),
        ("Look at No. 5 now. It is so.", ["Look at No. 5 now.", " It is so."]),
        ("He says no. It is so.", ["He says no.", " It is so."]),
        ("At 3 p.m. he left. He ate.", ["At 3 p.m. he left.", " He ate."]),
        ("He left at 3 p.m. Then he ate.", ["He left at 3 p.m.", " Then he ate."]),
        ("It is 5 ft. long, etc. Then he ate.", ["It is 5 ft. long, etc.", " Then he ate."]),
    ],
)
def test_a_step_ends_after_a_full_stop_that_ends_a_sentence(text, steps):
    assert pieces(text, split_newlines=False) == steps


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("1. He has 2. 2. She has 3.", ["1. He has 2.", " 2. She has 3."]),
        (
            "First find\n1. the apples\n2. the pears",
            ["First find\n", "1. the apples\n", "2. the pears"],
        ),
        ("2) He has 2.\n  - 3. She has 3.", ["2) He has 2.\n  ", "- 3. She has 3."]),
        ("He has 2.\n3.\nShe has 3.", ["He has 2.\n", "3.\nShe has 3."]),
        ("Total is 12.\nSo it is.", ["Total is 12.\n", "So it is."]),
    ],
)
def test_a_list_number_goes_with_what_it_numbers(text, steps):
    assert pieces(text) == steps


def test_a_list_number_at_the_start_of_a_line_holds_without_newline_splitting():
    text = "First find\n1. the apples.\n2. Then eat"
    assert pieces(text, split_newlines=False) == ["First find\n1. the apples.", "\n2. Then eat"]


def test_a_newline_and_the_white_space_after_it_belong_to_the_step_they_end():
    assert pieces("One two\n\n  Three four") == ["One two\n\n  ", "Three four"]
    assert pieces("One two \r\nThree four") == ["One two \r\n", "Three four"]


def test_newlines_are_white_space_when_they_do_not_split():
    assert pieces("One two.\nThree\nfour", split_newlines=False) == ["One two.", "\nThree\nfour"]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("He has two. Yes. She has three.", ["He has two. Yes.", " She has three."]),
        ("He has two.\n---\nShe has three.", ["He has two.\n---\n", "She has three."]),
        ("Yes. He has two. She has three.", ["Yes. He has two.", " She has three."]),
        ("***\nHe has two.\n ", ["***\nHe has two.\n "]),
        ("He has two. $1.50.", ["He has two. $1.50."]),
        ("Yes.", ["Yes."]),
        ("...", ["..."]),
        (" \n ", [" \n "]),
    ],
)
def test_a_piece_of_under_two_words_joins_its_neighbour(text, steps):
    assert pieces(text) == steps


def test_sentence_ends_are_the_positions_after_the_full_stops():
    assert list(sentence_ends("A b. C 3.5 d.")) == [4, 13]


@pytest.mark.parametrize(
    "unit", [".", "1.", "a.", "Mr.", "\n", "1.\n", " ", ".)", "x'", "3,", "\r"]
)
def test_hostile_texts_of_200_kb_do_not_hang(unit):
    text = unit * (200_000 // len(unit))
    assert "".join(pieces(text)) == text


def test_a_token_belongs_to_the_step_in_which_it_starts():
    steps = steps_of_tokens([0, 4, 9, 10, 11, 25], [0, 10, 20])
    np.testing.assert_array_equal(steps, [0, 0, 0, 1, 1, 2])
    assert steps.dtype == np.int64


def test_a_token_before_the_first_step_is_in_step_0():
    np.testing.assert_array_equal(steps_of_tokens(np.array([0, 3, 7]), np.array([5, 7])), [0, 0, 1])


def test_a_token_with_its_leading_blank_starts_in_its_own_step():
    text = "He has 2. She has 3."
    starts = [start for start, _ in split_steps(text, split_newlines=False)]
    assert steps_of_tokens([text.index("."), text.index(" She")], starts).tolist() == [0, 1]


@given(
    token_starts=st.lists(st.integers(0, 60), max_size=30),
    step_starts=st.sets(st.integers(0, 60), min_size=1, max_size=10).map(sorted),
)
@settings(max_examples=100, deadline=None)
def test_steps_of_tokens_equal_a_search_by_hand(token_starts, step_starts):
    by_hand = [max(sum(start <= token for start in step_starts) - 1, 0) for token in token_starts]
    assert steps_of_tokens(token_starts, step_starts).tolist() == by_hand


def test_no_tokens_have_no_steps():
    assert steps_of_tokens([], []).shape == (0,)


def test_tokens_without_steps_are_refused():
    with pytest.raises(ValueError, match="no reasoning steps"):
        steps_of_tokens([0], [])


@pytest.mark.parametrize("step_starts", [[0, 5, 5], [5, 0]])
def test_steps_that_do_not_ascend_are_refused(step_starts):
    with pytest.raises(ValueError, match="ascend"):
        steps_of_tokens([0], step_starts)


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="needs the benchmark data in ../shared/data")
@pytest.mark.parametrize(
    ("name", "mean_num_steps"),
    [
        ("gsm8k/teacher_gpt35turbo_zeroshot_500.jsonl", 9.0),
        ("asdiv/teacher_phi_4_mini_instruct.jsonl", 4.4),
        ("svamp/teacher_palm540b.jsonl", 3.7),
    ],
)
def test_real_rationales_have_as_many_steps_as_were_counted(name, mean_num_steps):
    counts = [len(pieces(row["rationale"])) for row in read_lines(SHARED_DATA / name)]
    assert np.mean(counts) == pytest.approx(mean_num_steps, abs=0.3)
