"""Answers: extracted by the last-answer rule, and compared."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.answers.extraction import answers_equal, extract_answer
from tests.conftest import SHARED_DATA
from tests.json_lines import read_lines

OPENAI = SHARED_DATA / "model_outputs" / "gsm8k_test_openai.jsonl"
CHOICES = ("race track", "populated areas", "the desert", "apartment", "roadblock")
KINDS = ("number", "choice", "boolean", "text")
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=100)
PIECES = ["The answer is", " 18", ".", " ", "\n", "#### ", "So ", "= 3", ",", "(c)", "x", "-"]
PIECES += [" two", " hundred", " and a half", " point", "\u00bd", " x 10^", " dollars", " 5 cents"]
ANSWER_LIKE = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So the answer is (c) the desert.", "C"),
        ("The answer is B", "B"),
        ("The answer is b) or so", "B"),
        ("Answer: C. the desert", "C"),
        ("Answer: C: the desert", "C"),
        ("**Answer: D**", "D"),
        ("So it is \\boxed{B}, not A", "B"),
        ("The correct choice is E.", "E"),
        ("The best option is (a).", "A"),
        ("The answer is A because of the people.", "A"),
        ("The answer is A place like (b).", "B"),
        ("The answer is the Desert.", "C"),
        ("The answer is people, so (b) is not bad", "B"),
        ("I'd say (F) or (d)", "D"),
        ("(a) is bad. Hence B", "B"),
        ("He'd see a race track or populated areas", "B"),
        ("He'd see the racetrack", None),
        ("A dog runs", None),
        ("a", None),
    ],
)
def test_a_choice_is_its_letter_or_else_its_text(text, answer):
    assert extract_answer(text, "choice", CHOICES) == answer


def test_without_choices_any_letter_is_a_choice():
    assert extract_answer("The answer is (z).", "choice") == "Z"
    assert extract_answer("The answer is the desert.", "choice") is None


def test_of_twin_choices_the_first_counts_and_of_nested_ones_the_longest():
    assert extract_answer("The answer is a bank.", "choice", ("", "bank", "bank")) == "B"
    assert extract_answer("The answer is river bank.", "choice", ("river", "river bank")) == "B"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Therefore, the answer (Yes or No) is No.", "no"),
        ("The answer is yes, as no one knows.", "yes"),
        ("So the answer is FALSE", "no"),
        ("It is false at first. Yes, true", "yes"),
        ("Yes.\nNothing known", "yes"),
        ("unknown", None),
    ],
)
def test_a_boolean_is_the_announced_or_else_the_last_one(text, answer):
    assert extract_answer(text, "boolean") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('Therefore, the answer is "fnel".', "fnel"),
        ("The answer is Mrs. Hilt. She won.", "Mrs. Hilt"),
        ("Answer: *Paris*\nSure", "Paris"),
        ("The answer is\n\nPurple", "Purple"),
        ("It is \\boxed{\\text{Paris}}, I think", "Paris"),
        ("The answer is: ''", None),
        ("Paris", None),
    ],
)
def test_a_text_answer_is_what_follows_the_announcement(text, answer):
    assert extract_answer(text, "text") == answer


@pytest.mark.parametrize(
    ("predicted", "gold", "kind"),
    [
        ("18", "18.0", "number"),
        ("3,000", "$3000", "number"),
        ("0.75", "3/4", "number"),
        ("0.333333", "1/3", "number"),
        ("2.9999999999999996", "3", "number"),
        ("1e3", "1000", "number"),
        ("50%", "50", "number"),
        ("c", "C", "choice"),
        ("(C)", "C", "choice"),
        ("True", "yes", "boolean"),
        ("NO", "no", "boolean"),
        ("  Mrs.  Hilt ", "mrs. hilt", "text"),
        ("3:30 p.m", "3:30 p.m.", "text"),
        ('"fnel"', "fnel", "text"),
        ("k p o d", "KPOD", "text"),
    ],
)
def test_equal_answers(predicted, gold, kind):
    assert answers_equal(predicted, gold, kind)
    assert answers_equal(gold, predicted, kind)


@pytest.mark.parametrize(
    ("predicted", "gold", "kind"),
    [
        ("18", "-18", "number"),
        ("1000001", "1000000", "number"),
        ("0.33", "1/3", "number"),
        ("0.33333", "1/3", "number"),
        ("0.3333", "0.33333", "number"),
        ("0.0000001", "0", "number"),
        ("1e999999999", "1e999999999", "number"),
        ("1/0", "1/0", "number"),
        ("9" * 5000, "9" * 5000, "number"),
        ("18 apples", "18", "number"),
        ("", "", "number"),
        ("A", "B", "choice"),
        ("yes", "no", "boolean"),
        ("the bank", "bank", "text"),
        ("k-p-o-d", "kpod", "text"),
        ("a bc", "abc", "text"),
        ("1 2", "12", "text"),
    ],
)
def test_unequal_answers(predicted, gold, kind):
    assert not answers_equal(predicted, gold, kind)
    assert not answers_equal(gold, predicted, kind)


@given(text=st.one_of(ANSWER_LIKE, ANY_TEXT), kind=st.sampled_from(KINDS))
@settings(max_examples=200, deadline=None)
def test_an_extracted_answer_is_in_plain_form_already(text, kind):
    answer = extract_answer(text, kind, CHOICES)
    if answer is not None:
        assert answers_equal(answer, answer, kind)
        assert kind == "text" or extract_answer(answer, kind, CHOICES) == answer


@pytest.mark.parametrize(
    "call", [lambda: extract_answer("18", "numbers"), lambda: answers_equal("1", "1", "numbers")]
)
def test_an_unknown_kind_is_refused(call):
    with pytest.raises(ValueError, match="not 'numbers'"):
        call()


@pytest.mark.skipif(not OPENAI.is_file(), reason=f"needs the benchmark data: {OPENAI}")
def test_verdicts_on_2636_model_outputs_equal_those_of_openai():
    rows = read_lines(OPENAI)
    assert len(rows) == 2636
    answers = [extract_answer(row["output"], "number") for row in rows]
    wrong = [
        row["id"]
        for row, answer in zip(rows, answers, strict=True)
        if answers_equal(answer or "", row["answer"], "number") != row["is_correct"]
    ]
    assert wrong == []
