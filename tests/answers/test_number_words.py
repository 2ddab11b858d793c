"""Numbers in words: read as what a speller wrote, and left alone where they are no number."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.answers.numbers import spelled_in_digits

SMALL = {0: "zero", 1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven"}
SMALL |= {8: "eight", 9: "nine", 10: "ten", 11: "eleven", 12: "twelve", 13: "thirteen"}
SMALL |= {14: "fourteen", 15: "fifteen", 16: "sixteen", 17: "seventeen", 18: "eighteen"}
SMALL |= {19: "nineteen", 20: "twenty", 30: "thirty", 40: "forty", 50: "fifty", 60: "sixty"}
SMALL |= {70: "seventy", 80: "eighty", 90: "ninety"}
LARGE = {10**12: "trillion", 10**9: "billion", 10**6: "million", 1000: "thousand", 100: "hundred"}


def spell(number: int, glue: str) -> str:
    """Spell a number below 10^15 in English; ``glue`` stands before what is below a hundred."""
    for scale, word in LARGE.items():
        if number >= scale:
            rest = number % scale
            tail = f"{glue if rest < 100 else ' '}{spell(rest, glue)}" if rest else ""
            return f"{spell(number // scale, glue)} {word}{tail}"
    if number in SMALL:
        return SMALL[number]
    return f"{SMALL[number // 10 * 10]}-{SMALL[number % 10]}"


@given(number=st.integers(0, 10**15 - 1), glue=st.sampled_from([" ", " and "]))
@settings(max_examples=300, deadline=None)
def test_a_spelled_number_is_read_as_itself(number, glue):
    words = spell(number, glue)
    assert spelled_in_digits(words) == str(number)
    assert spelled_in_digits(f"{words.title()} eggs") == f"{number} eggs"
    assert spelled_in_digits(words.replace("-", " ")) == str(number)


def test_every_number_below_ten_thousand_is_read_as_itself():
    assert [spelled_in_digits(spell(n, " ")) for n in range(10_000)] == list(
        map(str, range(10_000))
    )


@pytest.mark.parametrize(
    ("words", "digits"),
    [
        ("two thousand, three hundred", "2300"),
        ("a hundred", "100"),
        ("a thousand and one nights", "1001 nights"),
        ("twelve hundred", "1200"),
        ("minus nine", "-9"),
        ("Negative nine.", "-9."),
        ("three point two five", "3.25"),
        ("three point twenty-five", "3.25"),
        ("zero point zero five", "0.05"),
        ("one half", "1/2"),
        ("two-thirds of it", "2/3 of it"),
        ("two halves", "2/2"),
        ("four and a half hours", "4 1/2 hours"),
        ("four and three quarters", "4 3/4"),
        ("minus one and one third", "-1 1/3"),
        ("six or seven", "6 or 7"),
        ("two and three", "2 and 3"),
        ("twenty plus one makes twenty-one", "20 plus 1 makes 21"),
        ("one egg", "1 egg"),
        ('"Seventy six"', '"76"'),
        ("about eleven", "about 11"),
        ("thirty dollars and two cents", "30 dollars and 2 cents"),
    ],
)
def test_numbers_in_words_become_digits(words, digits):
    assert spelled_in_digits(words) == digits


@pytest.mark.parametrize(
    "text",
    [
        "",
        "one of them",
        "one that fits",
        "he has two",
        "seventeenth",
        "sixes",
        "someone",
        "a third person",
        "tenfold",
        "hundred",
        "S\u0130X",
        "5 and six",
    ],
)
def test_what_starts_with_no_spelled_number_is_unchanged(text):
    assert spelled_in_digits(text) == text
