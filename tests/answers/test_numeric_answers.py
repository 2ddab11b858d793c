"""Numbers found in texts, in all the ways people write them."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.answers.extraction import answers_equal, extract_answer


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
        ("The answer is 10\u201315.", None),
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
