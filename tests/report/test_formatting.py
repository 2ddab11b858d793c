import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpod_ray.report import formatting
from kpod_ray.report.run.data import Accuracy

LOW = Accuracy("before", 6, 48, 0.059, 0.247)
HIGH = Accuracy("after", 23, 48, 0.345, 0.617)
NEAR = Accuracy("near", 10, 48, 0.117, 0.343)


def plain(text):
    return text.replace(formatting.NO_BREAK_SPACE, " ").replace("\u2212", "-")


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\x00b", "a\u2400b"),
        ("\x1b[31m", "\u241b[31m"),
        ("one\r\ntwo\tthree", "one\ntwo\tthree"),
        ("a\u202eb", "a[U+202E]b"),
        ("\u200f\u2066", "[U+200F][U+2066]"),
        ("\ud800", "\ufffd"),
        ("שלום 2 + 3 = 5 🍎", "שלום 2 + 3 = 5 🍎"),
    ],
)
def test_controls_are_shown_and_text_is_kept(raw, shown):
    assert formatting.visible(raw) == shown


@given(st.text(st.characters(codec=None)))
def test_visible_text_can_be_written_and_shown_again(text):
    shown = formatting.visible(text)
    assert shown.encode().decode() == shown
    assert formatting.visible(shown) == shown


def test_a_long_text_is_cut_and_says_by_how_much():
    assert formatting.clipped("abcdef", 4) == "abcd … (2 more characters)"
    assert formatting.clipped("abcdef", 6) == "abcdef"


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [(1234.56, 1, "1,234.6"), (-0.001, 2, "0.00"), (-2.5, 1, "-2.5"), (math.nan, 1, "\u2013")],
)
def test_numbers_are_rounded_and_grouped(value, digits, shown):
    assert plain(formatting.number(value, digits)) == shown


@pytest.mark.parametrize(("share", "shown"), [(0.479, "47.9 %"), (1, "100.0 %"), (0, "0.0 %")])
def test_shares_are_shown_as_per_cent(share, shown):
    assert plain(formatting.percent(share)) == shown


@pytest.mark.parametrize(
    ("difference", "shown"),
    [(0.354, "+35.4 points"), (-0.02, "-2.0 points"), (0.0, "0.0 points"), (-1e-9, "0.0 points")],
)
def test_differences_carry_their_sign(difference, shown):
    assert plain(formatting.points(difference)) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (4.25, "4.2 s"),
        (59.96, "1 min 00 s"),
        (192, "3 min 12 s"),
        (3599.7, "1 h 00 min"),
        (3720, "1 h 02 min"),
    ],
)
def test_durations_have_two_units_at_most(seconds, shown):
    assert plain(formatting.duration(seconds)) == shown


def test_token_spaces_and_newlines_are_signs():
    assert formatting.token_text(" got\n") == "\u2423got\u21b5"
