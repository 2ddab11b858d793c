import pytest

from kpod_ray.algorithm.leaks import leaks_answer


@pytest.mark.parametrize(
    ("text", "answer", "kind"),
    [
        ("The answer is 12. Because 5 + 7 = 12.", "12", "number"),
        ("Answer: 12\n5 + 7 = 12", "12", "number"),
        ("#### 12\nSince 5 and 7 are 12.", "12", "number"),
        ("The answer is 12 because 5 and 7 are 12.", "12", "number"),
        ("Therefore the correct answer is yes. It can.", "yes", "boolean"),
        ("So, the final answer is (B). A bank holds money.", "B", "choice"),
        ("12.", "12", "number"),
        ("B. boat", "B", "choice"),
    ],
)
def test_the_answer_before_any_reasoning_or_alone_is_a_leak(text, answer, kind):
    assert leaks_answer(text, answer, kind, ("bank", "boat") if kind == "choice" else ())


@pytest.mark.parametrize(
    "text",
    [
        "5 + 7 = 12. The answer is 12.",
        "She has 5 and 7. So the answer is 12.",
        "The answer is 5 + 7 = 12. So she has 12.",
        "To find the answer: 1. Add 5 and 7. 2. That is 12.",
        "Since the given answer is valid, 5 + 7 is 12.",
        "We are asked how many there are. The answer is 12.",
        "The answer is a number of balls. She has 5 and 7 of them.",
        "She has 12.",
        "5 + 7 = 12",
    ],
)
def test_reasoning_first_is_none(text):
    assert not leaks_answer(text, "12", "number")


def test_another_answer_than_the_right_one_announced_first_is_no_leak():
    assert not leaks_answer("The answer is 13. No: 5 + 7 = 12.", "12", "number")
