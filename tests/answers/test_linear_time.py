"""No text, however hostile, takes more than linear time: four times the text, about four times it."""

import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.answers.extraction import answers_equal, extract_answer
from kpod_ray.answers.final_sentence import is_readable, strip_closing

CHOICES = ("race track", "populated areas", "the desert")
KINDS = ("number", "choice", "boolean", "text")
GROWTH = 4
MOST_GROWTH = 9
"""Between 4 of linear and 16 of quadratic time, with room for a busy machine."""
NOISE_SECONDS = 0.1

UNITS = [" ", "\n", "x \n", "1", "1 ", "1.", "1,", ",234", "1/", "1e", "1e999. ", "-", "=1", "$"]
UNITS += ["#", "####\n", "\\boxed{", "\\frac{1", "the answer is ", "answer to ", "answer ("]
UNITS += ["answer\n", "So the answer is 1. ", "\nA:", "A ", "(a", "no ", "Mr.", "a.", "! ", '"']
UNITS += ["... ", "yes", "=\n", "answer is =\n", "10^", "1 x 10", "10\u00b2", "\u00bd", "1\u202f"]
UNITS += ["two hundred ", "answer is one million ", "answer: two and ", "5 dollars ", "equal to "]
UNITS += [
    "answer:\n1. ",
    "to find the answer:\n",
    "not true ",
    "is the answer ",
    "</think>",
    "2^",
    "or 5 ",
]
UNITS += ["{", "}", "[", ")", "\ufffd", "a b "]


def seconds(text: str, kinds: Sequence[str] = KINDS) -> float:
    """Return the processor time of all that looks into a text."""
    start = time.process_time()
    for kind in kinds:
        extract_answer(text, kind, CHOICES)
        answers_equal(text, text, kind)
    strip_closing(text)
    is_readable(text, len(text))
    return time.process_time() - start


def assert_linear(unit: str, size: int, kinds: Sequence[str] = KINDS) -> None:
    text = unit * (size // len(unit) + 1)
    small, large = (
        min(seconds(text[:length], kinds) for _ in range(2)) for length in (size // GROWTH, size)
    )
    assert large <= MOST_GROWTH * small + NOISE_SECONDS


@pytest.mark.parametrize("unit", UNITS)
def test_time_grows_with_the_length_of_hostile_texts(unit):
    assert_linear(unit, 20_000)


@given(st.lists(st.sampled_from(UNITS), min_size=2, max_size=4).map("".join))
@settings(max_examples=8, deadline=None)
def test_time_grows_with_the_length_of_mixed_hostile_texts(unit):
    assert_linear(unit, 20_000)


@pytest.mark.parametrize("unit", ["7", "{", "answer is "])
def test_time_grows_with_the_length_of_texts_of_a_megabyte(unit):
    assert_linear(unit, 1_000_000, ["number"])


@pytest.mark.parametrize("lead", ["Answer:", "To find the answer:", "The answer is", "Yes"])
def test_time_grows_with_the_blanks_after_an_announcement(lead):
    small, large = (seconds(lead + " \n" * size + "1. x") for size in (2_500, 10_000))
    assert large <= MOST_GROWTH * small + NOISE_SECONDS


@pytest.mark.parametrize("unit", ["7", "9,999", "two hundred ", "3/"])
def test_an_announced_answer_without_end_is_found_or_passed_over(unit):
    text = f"It is 5. The answer is {unit * 100_000}"
    assert len(extract_answer(text, "number") or "") <= 300
