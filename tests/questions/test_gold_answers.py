"""Gold answers in their normal form."""

import decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.questions.gold_answers import (
    normal_number,
    read_choice,
    read_choices,
    read_gold,
)
from kpod_ray.questions.solutions import split_answer
from kpod_ray.storage.user_files import FieldError


@pytest.mark.parametrize(
    ("value", "answer", "kind"),
    [
        ("3,000", "3000", "number"),
        ("18.0", "18", "number"),
        (" $1,234.50 ", "1234.5", "number"),
        ("-$5", "-5", "number"),
        ("$-5", "-5", "number"),
        ("+007", "7", "number"),
        (".5", "0.5", "number"),
        ("5.", "5", "number"),
        ("-0.0", "0", "number"),
        ("1,00,000", "100000", "number"),
        ("10" * 200, "10" * 200, "number"),
        (18, "18", "number"),
        (18.0, "18", "number"),
        (-0.25, "-0.25", "number"),
        (1e-7, "0.0000001", "number"),
        (1e22, "10000000000000000000000", "number"),
        (decimal.Decimal("1.50"), "1.5", "number"),
        ("Yes", "yes", "boolean"),
        ("FALSE", "no", "boolean"),
        (True, "yes", "boolean"),
        (False, "no", "boolean"),
        ("1,2", "1,2", "text"),
        ("9 (apples)", "9", "number"),
        ("3/4", "0.75", "number"),
        ("2/6", "1/3", "number"),
        ("2 1/2", "2.5", "number"),
        ("\u00bd", "0.5", "number"),
        ("50%", "50", "number"),
        ("50 %", "50", "number"),
        ("50\\%", "50", "number"),
        ("\u22125", "-5", "number"),
        ("\u20ac5", "5", "number"),
        ("5 \u20ac", "5", "number"),
        ("\u20b91,000.50", "1000.5", "number"),
        ("1e3", "1000", "number"),
        ("2 x 10^3", "2000", "number"),
        ("2^{10}", "1024", "number"),
        ("\\frac{3}{4}", "0.75", "number"),
        ("$\\frac34$", "0.75", "number"),
        ("\\(3\\frac{1}{2}\\)", "3.5", "number"),
        ("12\\text{ cm}", "12", "number"),
        ("90^\\circ", "90", "number"),
        ("5 apples", "5", "number"),
        ("1,250 square feet", "1250", "number"),
        ("3.5 kg", "3.5", "number"),
        ("60 km/h", "60", "number"),
        ("$5 per hour", "5", "number"),
        ("-3 dollars", "-3", "number"),
        ("twenty-one", "21", "number"),
        ("Two thirds", "2/3", "number"),
        ("5 million", "5 million", "text"),
        ("5 or 6", "5 or 6", "text"),
        ("10-15", "10-15", "text"),
        ("2 out of 3", "2 out of 3", "text"),
        ("3 p.m.", "3 p.m.", "text"),
        ("7 Eleven", "7 Eleven", "text"),
        ("1st", "1st", "text"),
        ("seven dwarfs", "seven dwarfs", "text"),
        ("x = 5", "x = 5", "text"),
        ("1/0", "1/0", "text"),
        ("6:10", "6:10", "text"),
        ("-", "-", "text"),
        (".", ".", "text"),
        (" Mrs. Hilt ", "Mrs. Hilt", "text"),
        ("٣", "٣", "text"),
    ],
)
def test_answers_have_one_normal_form_and_a_kind(value, answer, kind):
    assert read_gold({"answer": value}, "answer") == (answer, kind)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "field 'answer' is missing"),
        ({"answer": None}, "field 'answer' is missing"),
        ({"answer": "  "}, "field 'answer' is empty"),
        ({"answer": [3]}, "field 'answer' must be text, not list"),
        ({"answer": float("nan")}, "no finite number"),
        ({"answer": float("-inf")}, "no finite number"),
    ],
)
def test_what_is_no_answer_is_refused_with_the_field_named(row, reason):
    with pytest.raises(FieldError, match=reason):
        read_gold(row, "answer")


@settings(max_examples=300)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=4))
def test_the_normal_form_keeps_the_value_and_is_its_own_normal_form(value):
    normal = normal_number(format(value, "f"))
    assert decimal.Decimal(normal) == value
    assert normal_number(normal) == normal


@settings(max_examples=300)
@given(st.integers(-(10**12), 10**12))
def test_commas_between_groups_change_nothing(value):
    assert normal_number(f"{value:,}") == str(value)


def test_the_answer_follows_the_last_separator_and_calculator_marks_are_gone():
    text = "He has 48/2 = <<48/2=24>>24 clips #### not yet.\n24 + 1 = <<24+1=25>>25.\n#### 1,025"
    rationale, answer = split_answer(text, "####", "answer")
    assert rationale == "He has 48/2 = 24 clips #### not yet.\n24 + 1 = 25."
    assert answer == "1,025"


def test_an_answer_without_reasoning_before_the_separator_has_an_empty_rationale():
    assert split_answer("#### 5", "####", "answer") == ("", "5")


@pytest.mark.parametrize(
    ("text", "reason"), [("just 5", "holds no answer separator '####'"), ("so ####  ", "no answer")]
)
def test_an_answer_without_its_separated_part_is_refused(text, reason):
    with pytest.raises(FieldError, match=reason):
        split_answer(text, "####", "solution")


@pytest.mark.parametrize("value", [None, []])
def test_null_and_the_empty_list_are_no_choices(value):
    assert read_choices({"choices": value}, "choices") == ([], [])


def test_choices_may_come_as_the_hub_writes_them():
    row = {"choices": {"text": ["cat", "dog"], "label": ["1", "2"]}}
    texts, labels = read_choices(row, "choices")
    assert (texts, labels) == (["cat", "dog"], ["1", "2"])
    assert read_choice({"answer": "2"}, "answer", texts, labels) == "B"
    assert read_choice({"answer": 1}, "answer", texts, labels) == "A"


@pytest.mark.parametrize(
    ("answer", "letter"), [("A", "A"), ("C", "C"), ("dog", "B"), (" fish", "C"), ("B ", "B")]
)
def test_the_gold_choice_is_a_letter_or_the_text_of_a_choice(answer, letter):
    texts, labels = read_choices({"choices": ["cat", "dog", "fish"]}, "choices")
    assert read_choice({"answer": answer}, "answer", texts, labels) == letter


def test_a_letter_wins_over_the_text_of_a_choice():
    texts, labels = read_choices({"choices": ["C", "B", "A"]}, "choices")
    assert read_choice({"answer": "A"}, "answer", texts, labels) == "A"


def test_a_number_is_the_text_of_a_choice_and_never_an_index():
    texts, labels = read_choices({"choices": [4, 2.0, 0]}, "choices")
    assert texts == ["4", "2", "0"]
    assert read_choice({"answer": 2}, "answer", texts, labels) == "B"
    with pytest.raises(FieldError, match="field 'answer' is '1'"):
        read_choice({"answer": 1}, "answer", texts, labels)


def test_a_boolean_is_the_text_of_a_choice():
    assert read_choice({"answer": False}, "answer", ["yes", "no"], ["A", "B"]) == "B"


@pytest.mark.parametrize("answer", ["D", "a", "Dog", "cat, dog", "(A)"])
def test_a_gold_that_names_no_choice_is_refused_with_the_letters_named(answer):
    texts, labels = read_choices({"choices": ["cat", "dog", "fish"]}, "choices")
    with pytest.raises(FieldError, match="it must be A to C or the text of a choice"):
        read_choice({"answer": answer}, "answer", texts, labels)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("a, b", "must be a list"),
        (["only"], "has 1 choices"),
        (["x"] * 27, "has 27 choices"),
        (["a", ""], "is empty"),
        (["a", None], "is missing"),
        (["a", ["b"]], "must be text, not list"),
        ({"label": ["A"]}, "must be a list"),
        ({"text": ["a", "b"], "label": ["A"]}, "as many labels"),
        ([1.0, float("inf")], "no finite number"),
    ],
)
def test_choices_that_cannot_be_used_are_refused_with_the_field_named(value, reason):
    with pytest.raises(FieldError, match=f"field 'choices'.*{reason}"):
        read_choices({"choices": value}, "choices")
