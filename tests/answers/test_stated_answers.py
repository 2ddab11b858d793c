"""Answers in the ways models state them: spelled, named, listed, refused, thought."""

import pytest

from kpod_ray.answers.extraction import extract_answer

PLACES = ("river", "bank", "desert", "New York")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\\boxed{3\\frac{1}{2}}", "3.5"),
        ("So $2 \\dfrac{3}{4}$ cups", "2.75"),
        ("It is \\boxed{-1\\frac12}.", "-1.5"),
        ("It is \\boxed{10\\tfrac{1}{5}\\text{ m}}.", "10.2"),
        ("\\frac34", "0.75"),
        ("\\frac3{4}", "0.75"),
        ("\\frac{3}4", "0.75"),
        ("\\frac{-1}{2}", "-0.5"),
        ("\\frac{1}{-2}", "-0.5"),
        ("-\\frac{1}{2}", "-0.5"),
        ("\\frac{1,000}{8}", "125"),
        ("2 and 3/4 cups", "2.75"),
        ("1\\;234", "1234"),
        ("1\\ 234\\ 567", "1234567"),
        ("1\\:000 and no more", "1000"),
        ("10,\\!000", "10000"),
        ("5\\;6", "6"),
        ("2^{10}", "1024"),
        ("The answer is 2**5.", "32"),
        ("The answer is 3 * 2^4.", "3"),
        ("It is 2\u00b3", "8"),
        ("It is 2^{-3}", "0.125"),
        ("It is 1.5^2", "2.25"),
        ("The answer is 10^6.", "1000000"),
        ("The answer is 10^{-2}.", "0.01"),
        ("The answer is 2 x 10^3.", "2000"),
        ("The answer is negative 7.", "-7"),
        ("The answer is minus 7.", "-7"),
        ("Answer: Negative 2.5", "-2.5"),
        ("She has 5 minus 3", "3"),
        ("The answer is 1,00,000.", "100000"),
        ("It is 12,34,567 in all", "1234567"),
        ("Answer: 1,00,00,000 rupees for 3", "10000000"),
        ("The answer is 0.5 - \\frac{1}{4} \\approx 0.25.", "0.25"),
    ],
)
def test_numbers_of_other_spellings(text, answer):
    assert extract_answer(text, "number") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer should be 5 after 2 days.", "5"),
        ("The answer must be $5 in 2 days.", "5"),
        ("So the answer has to be six in 2 days.", "6"),
        ("The answer comes out to 5 after 2 days.", "5"),
        ("The answer turns out to be 5 after 2 days.", "5"),
        ("The answer must be less than 9, so it is 8.", "8"),
        ("The answer is found by adding 5 and 3. That is 8.", "8"),
        ("18 is the answer for 3 boys.", "18"),
        ("So 18 eggs is the correct answer to question 3.", "18"),
        ("We see that 3 * 6 = 18 is the final answer in 3 days.", "18"),
        ("Which is the answer? It is 3", "3"),
        ("The total is 5 in 2 days.", "5"),
        ("Thus the sum of both is 5 in 2 days.", "5"),
        ("The average number of eggs was about 5 in 2 days.", "5"),
        ("The total cost is 80% of 400, which means 320 for 5", "5"),
        ("The result is 2 plus 3, or 5", "5"),
    ],
)
def test_the_number_that_is_named_as_the_answer_or_total(text, answer):
    assert extract_answer(text, "number") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("To find the answer:\n\n1. 2 + 3 = 5.\n2. 5 - 1 = 4.\n\nShe has 4 pens.", "4"),
        ("Answer:\n1. She buys 5.\n2. She loses 1.\n\nShe has 4 pens.", "4"),
        ("To get the final answer: add 2 and 3. She has 5 pens", "5"),
        ("**Answer:**\n\n**Step 1:** Add 2.\n**Step 2:** Add 3.\n\nShe has 6.", "6"),
        ("To find the answer:\n2 + 3 = 5\n5 - 1 = 4\n\nThat took 8 days", "4"),
        ("The answer is:\n\n1) $250 on ads\n2) $300 on all", "300"),
        ("The answer is: \n\nAfter 6 days, they have 390 sacks.", "390"),
        ("Answer:\n1", "1"),
        ("Answer: 12) in all", "12"),
    ],
)
def test_a_heading_before_steps_announces_no_answer(text, answer):
    assert extract_answer(text, "number") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>Perhaps the answer is 5.</think>\n\nThere are 6 pens.", "6"),
        ("Perhaps the answer is 5.</think>\nThere are 6 pens.", "6"),
        ("<thinking>The answer is 5.</thinking> She has 6 pens", "6"),
        ("<think>5</think>It is 6.<think>Or 7?</think> It is 8", "8"),
        ("<think>The answer is 5.</think>", None),
        ("<think>The answer is 5.", None),
        ("If 3 < 4 the answer is 5.", "5"),
    ],
)
def test_a_thought_is_no_answer(text, answer):
    assert extract_answer(text, "number") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("There are 7 pens. The answer is unknown.", None),
        ("There are 7 pens. The answer is not known.", None),
        ("There are 7 pens. The answer cannot be determined.", None),
        ("There are 7 pens, so the answer remains unclear.", None),
        ("The answer isn't clear. So there are 7 pens.", "7"),
        ("The answer is unknown at first. So there are 7 pens.", "7"),
    ],
)
def test_an_answer_called_unknown_is_none(text, answer):
    assert extract_answer(text, "number") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 5 or 6.", None),
        ("The answer is either 5 or 6 eggs.", None),
        ("Answer: 84 sofas and 88 chairs", None),
        ("The answer is 2, 80, 80.", None),
        ("The answer is 13, 13, 13, 13, 14.", None),
        ("The answer is 13, 13, 13.", "13"),
        ("The answer is 10-15.", None),
        ("The answer is 10 to 15 days.", None),
        ("\\boxed{3, 4}", None),
        ("The answer is x = 3 or x = 4.", None),
        ("The answer is five or six.", None),
        ("We get 7. The answer is 5/6.", "5/6"),
        ("The answer is 1/2 or 0.5.", "0.5"),
        ("The answer is 1 dollar and 22 cents, or 122.", "1.22"),
        ("The answer is 1/2, or 50%.", "0.5"),
        ("The answer is 5 or 500.", None),
        ("The answer is 18, 3 more than before.", "18"),
        ("The answer is 120 minutes, or 2 hours.", "120"),
        ("The answer is 5 and 3 are left.", "5"),
        ("The answer is 676 - 224, which is 452.", "452"),
        ("The answer is 5. No, the answer is 6.", "6"),
    ],
)
def test_several_announced_numbers_are_none(text, answer):
    assert extract_answer(text, "number") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("(A) is bad. The answer is (F).", None),
        ("It can't be A. Answer: H", None),
        ("(A) is bad. \\boxed{Z}", None),
        ("(A) is bad. The answer is option (E).", None),
        ("(A) is bad. The answer is I think (B).", "B"),
        ("(B) is the correct answer since (A) is wrong.", "B"),
        ("As (A) is wrong, bank is the best choice, not a desert.", "B"),
        ("So (B) bank is the answer, and (A) is not.", "B"),
        ("Option (C) would be the most likely answer; (A) is wet.", "C"),
        ("(B) is right because (A) is wrong.", "B"),
        ("It is B rather than A", "B"),
        ("Since (A) is wrong, B is right", "B"),
        ("B. A bank has money.", "B"),
        ("(C) A desert is no river.", "C"),
        ("**B)** A river has a bank; I like it.", "B"),
        ("A. a river\nB. a bank\nI'd take the desert", "C"),
        ("The answer is (A) or (B).", None),
        ("The answer is A, B and C.", None),
        ("The answer is both (A) river and (B) bank.", None),
        ("The answer is river or bank.", None),
        ("Answer: A/C", None),
        ("The answer is B, A is wrong.", "B"),
        ("The answer is (B) bank, not (A) river.", "B"),
        ("The answer is B and A is wrong.", "B"),
        ("The answer is New York, or maybe the desert.", None),
    ],
)
def test_a_choice_is_the_one_that_is_stated(text, answer):
    assert extract_answer(text, "choice", PLACES) == answer


def test_a_leading_label_wins_over_the_text_of_another_choice():
    assert extract_answer("B. A bank has money.", "choice", ("bank", "a safe")) == "B"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes, it is. There is no doubt.", "yes"),
        ("Yes. It has no legs and no one knows why.", "yes"),
        ("Yes, since it's not true that fish can't swim.", "yes"),
        ("No. It is true that they swim.", "no"),
        ("Yes? Fish swim. So no, it isn't.", "no"),
        ("It is not true.", "no"),
        ("It isn't really true", "no"),
        ("That is untrue.", "no"),
        ("It is no longer true", "no"),
        ("It cannot be false.", "yes"),
        ("There is no doubt.", None),
        ("The answer is yes or no.", None),
        ("The answer is both yes and no.", None),
        ("The answer is yes, no fish flies.", "yes"),
    ],
)
def test_a_boolean_is_stated_and_no_determiner(text, answer):
    assert extract_answer(text, "boolean") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is St. Louis.", "St. Louis"),
        ("The answer is Mt. Everest. It is high.", "Mt. Everest"),
        ("The answer is the St. Lawrence River.", "the St. Lawrence River"),
        ("The answer is J. K. Rowling. She wrote it.", "J. K. Rowling"),
        ("The answer is George W. Bush. He won.", "George W. Bush"),
        ("The answer is Main St. The bank is there.", "Main St"),
        ("The answer is vitamin C. Oranges have it.", "vitamin C"),
        ("The answer should be Paris, France.", "Paris, France"),
        ("So Paris is the answer. It is in France.", "Paris"),
        ("<think>The answer is Rome.</think>The answer is Paris.", "Paris"),
    ],
)
def test_a_text_holds_abbreviated_names(text, answer):
    assert extract_answer(text, "text") == answer
