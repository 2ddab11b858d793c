"""Answers: extracted by the last-answer rule, and compared."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.algorithm.answers import answers_equal, extract_answer

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
OPENAI = DATA / "model_outputs" / "gsm8k_test_openai.jsonl"
CHOICES = ("race track", "populated areas", "the desert", "apartment", "roadblock")
KINDS = ("number", "choice", "boolean", "text")
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=100)
PIECES = ["The answer is", " 18", ".", " ", "\n", "#### ", "So ", "= 3", ",", "(c)", "x", "-"]
PIECES += [" two", " hundred", " and a half", " point", "\u00bd", " x 10^", " dollars", " 5 cents"]
ANSWER_LIKE = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Therefore, the answer is 18.", "18"),
        ("16 - 3 = 13\n#### 13", "13"),
        ("So the answer is 3,000 dollars.", "3000"),
        ("The answer is $1,234,567.50 in all.", "1234567.5"),
        ("answer: **18**", "18"),
        ("**Answer:** 18", "18"),
        ("**Final Answer: -18**", "-18"),
        ("The answer (arabic numerals) is \n\n1792", "1792"),
        ("The answer to the question is 7 apples for 3 boys.", "7"),
        ("We get 26.\nA: 26", "26"),
        ("A: -20", "-20"),
        ("So it is $\\boxed{\\frac{3}{4}}$.", "0.75"),
        ("So it is \\boxed{1{,}000}.", "1000"),
        ("So it is \\boxed{\\text{18 apples}} for 3 boys.", "18"),
        ("So it is \\boxed{x_{1} = 4} for 3 boys.", "4"),
        ("It is \\boxed{18", "18"),
        ("The answer is 18. Let me check: 16 - 3 = 13.", "18"),
        ("The answer is 5. No, wait. The answer is 6.", "6"),
        ("The answer is 6. The answer is unknown to 5 people.", "5"),
        ("The answer is not 5 but 8.", "8"),
        ("The wrong answer is 5, so it is 7.", "7"),
        ("The answer is 7. Her answer was 5.", "7"),
        ("He has 4 correct answers and 2 more.", "2"),
        ("#### 18\nThe answer is unclear", "18"),
        ("#### Step 1: Add\nIt is 19 in all", "19"),
    ],
)
def test_the_last_announcement_that_holds_a_number_gives_it(text, answer):
    assert extract_answer(text, "number") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("16 - 10 = 6", "6"),
        ("The answer is 4 + 5 = 9.", "9"),
        ("48 / 2 = <<48/2=24>>24 clips in May", "24"),
        ("He eats 4 + 5 = 9 slices in 3 days", "9"),
        ("x = ? He has 5 of 7", "7"),
        ("12 * 2 ≈ 24 of 30", "24"),
        ("16 -10", "10"),
        ("It fell by -10", "-10"),
        ("It is (-10)", "-10"),
        ("It costs -$5", "-5"),
        ("It costs $-5", "-5"),
        ("It costs $ 5", "5"),
        ("It costs \\$5", "5"),
        ("It costs $5$ at 3", "3"),
        ("It is \u22125", "-5"),
        ("He has 10-15", "15"),
        ("The answer is 10\u201315.", "10"),
        ("About 5% - 3", "3"),
        ("COVID-19", "19"),
    ],
)
def test_equations_signs_and_ranges_are_told_apart(text, answer):
    assert extract_answer(text, "number") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("18.", "18"),
        ("1.50", "1.5"),
        ("007", "7"),
        ("-0", "0"),
        (".5", "0.5"),
        ("apples.2", "2"),
        ("50%", "50"),
        ("1,2345", "2345"),
        ("1,234,56", "56"),
        ("3/4", "0.75"),
        ("2/6", "1/3"),
        ("-7/3", "-7/3"),
        ("2 1/2", "2.5"),
        ("1.5e3", "1500"),
        ("25e-2", "0.25"),
        ("2 eggs", "2"),
        ("5 and 1e999999999", "5"),
        ("5 and 3/0", "5"),
        ("5 and " + "7" * 401, "5"),
        ("1e300", "1" + "0" * 300),
        ("1e999999999", None),
        ("no number", None),
        ("", None),
    ],
)
def test_numbers_come_in_plain_form(text, answer):
    assert extract_answer(text, "number") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("3 * 4 = 12. So he eats 12 apples in 4 days.", "12"),
        ("3 * 4 = 12. So he eats all in 4 of 5 days.", "5"),
        ("He eats for 12 weeks. So he eats 12 apples in 4 days.", "4"),
        ("Therefore, he has 7. Then he eats none.", "7"),
        ("1. First take 3.\n2. Second, stop", "3"),
        ("1. First take 3.\n2.", "2"),
        ("A: Jan has 3 eggs. So 16 - 3 = 13 of them are left and she sells those.", "13"),
    ],
)
def test_without_an_announcement_the_last_sentence_with_a_number_gives_it(text, answer):
    assert extract_answer(text, "number") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("We get 5. The answer is eleven.", "11"),
        ("The answer is:\n\nOne hundred and eighty", "180"),
        ("The answer is thirty-four dollars and two cents.", "34.02"),
        ("The answer is two plus three, which equals five.", "5"),
        ("We get 7. The answer is one of those.", "7"),
        ("Answer: To find it we add the two. 3 + 4 = 7", "7"),
        ("The answer is 14. The answer in words is fourteen.", "14"),
        ("He has 3. So four are left.", "3"),
    ],
)
def test_an_announced_number_may_be_spelled(text, answer):
    assert extract_answer(text, "number") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer:\n3 + 4 = 7\n\n7 * 2 = 14\nHe has all", "14"),
        ("The answer is 3 + 4 =\n\n7 of 9", "7"),
        ("The answer is\nx + 5 = 9\nx = 4\n\nThat took 8 days", "4"),
        ("The answer is 3 + 4 = 7.\nLet me look at all 5", "7"),
        ("The answer is 7.\nIndeed 3 + 4 = 8", "7"),
        ("The answer is 3 + 4 = 7. Then 7 + 1 = 8", "7"),
        ("The answer is 3 bags of 4, which equals 12 of 20.", "12"),
        ("The answer is 3 bags of 4, equal to 12 of 20.", "12"),
    ],
)
def test_an_announced_calculation_gives_its_last_result(text, answer):
    assert extract_answer(text, "number") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 3 dollars and 5 cents.", "3.05"),
        ("The answer is 2 \u00d7 10\u2074 of 3", "20000"),
        ("The answer is 10^3 of 4", "1000"),
        ("The answer is 1\u00bd of 4", "1.5"),
        ("The answer is 12\u202f345 m", "12345"),
        ("The answer is \u20b9500", "500"),
    ],
)
def test_numbers_are_found_in_the_ways_people_write_them(text, answer):
    assert extract_answer(text, "number") == answer


@given(value=st.fractions(max_denominator=1000), noise=st.sampled_from(["", "3 + 4 = 7. ", "a "]))
@settings(max_examples=100, deadline=None)
def test_a_number_is_found_again_exactly(value, noise):
    found = extract_answer(f"{noise}The answer is {value}.", "number")
    assert found is not None
    assert Fraction(found) == value
    assert answers_equal(found, str(value), "number")


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
    rows = [json.loads(line) for line in OPENAI.read_text().splitlines()]
    assert len(rows) == 2636
    answers = [extract_answer(row["output"], "number") for row in rows]
    wrong = [
        row["id"]
        for row, answer in zip(rows, answers, strict=True)
        if answers_equal(answer or "", row["answer"], "number") != row["is_correct"]
    ]
    assert wrong == []
