"""Numbers: read in the ways people write them, written plainly, and the same after both."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.answers.number_spelling import plain_spelling
from kpod_ray.answers.numbers import numbers_equal, parse_number, plain_number, write_number

LARGE = 10**40


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("18", Fraction(18)),
        ("-0.25", Fraction(-1, 4)),
        ("+7", Fraction(7)),
        ("1,234,567.5", Fraction(2469135, 2)),
        ("12\u202f345", Fraction(12345)),
        ("12\u00a0345", Fraction(12345)),
        ("$ -3", Fraction(-3)),
        ("-\u20b93", Fraction(-3)),
        ("5 %", Fraction(5)),
        ("2 3/4", Fraction(11, 4)),
        ("-2 3/4", Fraction(-11, 4)),
        ("2\u00be", Fraction(11, 4)),
        ("2 \u00be", Fraction(11, 4)),
        ("-\u00bd", Fraction(-1, 2)),
        ("\u2153", Fraction(1, 3)),
        ("\u215e", Fraction(7, 8)),
        ("2\u20443", Fraction(2, 3)),
        ("\\frac{2}{3}", Fraction(2, 3)),
        ("1.5e3", Fraction(1500)),
        ("1.5 \u00d7 10^3", Fraction(1500)),
        ("1.5 x 10^{-3}", Fraction(3, 2000)),
        ("1.5*10**3", Fraction(1500)),
        ("1.5 \\times 10^{3}", Fraction(1500)),
        ("1.5\u00b710\u00b3", Fraction(1500)),
        ("5 \u00d7 10\u207b\u00b2", Fraction(1, 20)),
        ("10^6", Fraction(10**6)),
        ("2^10", Fraction(1024)),
        ("2^{-3}", Fraction(1, 8)),
        ("\\frac34", Fraction(3, 4)),
        ("1,00,000", Fraction(100000)),
        ("50\\%", Fraction(50)),
        ("10\u00b9\u00b2", Fraction(10**12)),
        ("3 dollars and 5 cents", Fraction(61, 20)),
        ("3 Dollars, 50 Cents", Fraction(7, 2)),
        ("1 dollar and 1 cent", Fraction(101, 100)),
    ],
)
def test_a_number_is_read_exactly(text, number):
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1 2",
        "1,23",
        "3/0",
        "10^",
        "10^2.5",
        "2^9999",
        "0^-1",
        "2^3^2",
        "5 cents and",
        "\u00b2",
        "1e301",
    ],
)
def test_what_is_no_number_or_too_large_is_none(text):
    assert parse_number(text) is None


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("110^2", "12100"),
        ("2^10 and 2\u00b3", "1024 and 8"),
        ("x110^2", "x110^2"),
        ("x^10^2", "x^10^2"),
        ("1/10^2", "1/10^2"),
        ("3 * 10 = 30", "3 * 10 = 30"),
        ("5 dollars and 120 cents", "5 dollars and 120 cents"),
        ("3 times 4 equals 12", "3 times 4 = 12"),
        ("which is equal to 12", "which is = 12"),
        ("unequals", "unequals"),
        ("1\u00a02", "1 2"),
        ("a\nb", "a\nb"),
    ],
)
def test_spelling_is_made_plain_only_where_it_is_a_number(text, plain):
    assert plain_spelling(text) == plain


@given(st.fractions(-LARGE, LARGE, max_denominator=10**9))
@settings(max_examples=200, deadline=None)
def test_a_written_number_is_read_again_as_itself(number):
    assert parse_number(write_number(number)) == number


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9))
@settings(max_examples=200, deadline=None)
def test_a_decimal_is_written_without_exponent_and_needless_zeros(decimal):
    expected = format(decimal, "f")
    if "." in expected:
        expected = expected.rstrip("0").rstrip(".")
    if len(expected) <= 400:
        assert write_number(Fraction(decimal)) == ("0" if decimal == 0 else expected)
        assert parse_number(str(Decimal(decimal)).replace("E", "e")) == Fraction(decimal)


@given(st.integers(-LARGE, LARGE))
@settings(max_examples=100, deadline=None)
def test_commas_change_no_number(number):
    assert parse_number(f"{number:,}") == number


@given(top=st.integers(-(10**6), 10**6), exponent=st.integers(-300, 300))
@settings(max_examples=100, deadline=None)
def test_powers_of_ten_agree_with_the_letter_e(top, exponent):
    assert parse_number(f"{top} x 10^{exponent}") == parse_number(f"{top}e{exponent}")


def test_none_equals_nothing():
    assert not numbers_equal(None, None)
    assert not numbers_equal(Fraction(1), None)


@pytest.mark.parametrize(
    ("text", "plain"),
    [("0", "0"), ("007", "7"), ("000", "0"), ("1,250.50", "1250.5"), ("\u0663", None), ("x", None)],
)
def test_a_number_is_written_as_its_value_is(text, plain):
    assert plain_number(text) == plain
    number = parse_number(text)
    assert plain == (None if number is None else write_number(number))


def test_a_number_too_long_to_be_meant_is_none():
    assert plain_number("1" * 400) == "1" * 400
    assert plain_number("1" * 401) is None
