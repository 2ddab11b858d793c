"""Closings: cut off where a rationale ends with its answer, and nowhere else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.answers.extraction import extract_answer
from kpod_ray.answers.final_sentence import is_readable, strip_closing
from tests.conftest import SHARED_DATA
from tests.json_lines import read_lines

PALM = SHARED_DATA / "svamp" / "teacher_palm540b.jsonl"
ANSWER_LIKE = st.lists(
    st.sampled_from(
        ["The answer is", " 18", ".", " ", "\n", "#### ", "So ", "= 3", ",", "(c)", "x"]
    ),
    max_size=20,
).map("".join)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("3 - 2 = 1. Therefore, the answer is 1.", "3 - 2 = 1."),
        ("The answer is 18", ""),
        ("It is so. The answer is 2/3.", "It is so."),
        ("It is so. The answer is 10-15 eggs.", "It is so."),
        ("It is so. The answer is 7x.", "It is so."),
        ("It is so. The answer is (2).", "It is so."),
        ("It is so.\nSo the answer is (c) the desert.\n", "It is so."),
        ("It is so. So the answer is B. populated areas.", "It is so."),
        ("16 - 3 = 13\n#### 13", "16 - 3 = 13"),
        ("16 - 3 = 13 #### 13", "16 - 3 = 13"),
        ("16 - 3 = 13\n\n### Final Answer:\n13\n", "16 - 3 = 13"),
        ("It is so.\nA: 13", "It is so."),
        ("It is so. Hence, $\\boxed{13}$.", "It is so."),
        ("It is so. The answer is $\\boxed{13}$.", "It is so."),
        ("**Answer: 13**", ""),
        ("It is so. The answer is 13. #### 13", "It is so."),
        ("It is so. This shows that the answer is 13.", "It is so."),
        ("It is so. In conclusion, the answer is 13.", "It is so."),
        ("16 - 3 = 13, so the answer is 13.", "16 - 3 = 13"),
        ("16 - 3 is 13 which means the answer is 13.", "16 - 3 is 13"),
        ("As many people are found there, the answer is B.", "As many people are found there"),
    ],
)
def test_the_closing_is_cut_and_the_reasoning_stays(text, rest):
    assert strip_closing(text) == rest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Text without an answer.  \n",
        "Therefore, she has 18 eggs.",
        "The answer is 54 - 48 = 6.",
        "She counts both. The answer is 14 * 18.",
        "She counts both. The answer is 54 - 48.",
        "She asks him. Her answer is no.",
        "They ask. Their answer was about school.",
        "Of all we know, this answer is best.",
        "So 3 + 4 = \\boxed{7}",
        "Adding 3 and 4 the answer is 7.",
        "The answer is 18. I hope this helps!",
        "The answer is 18.\nShe then sells 3 more eggs.",
        "The answer is " + "long " * 20,
        "She has 3 correct answers and 4 wrong answers.",
    ],
)
def test_a_text_that_does_not_end_with_its_answer_is_unchanged(text):
    assert strip_closing(text) == text


@given(text=st.one_of(ANSWER_LIKE, st.text(max_size=100)))
@settings(max_examples=200, deadline=None)
def test_what_is_left_of_a_closing_is_a_prefix_of_the_text(text):
    assert text.startswith(strip_closing(text))


@pytest.mark.parametrize("text", ["a", "7", "é\n\t\r.", "x" * 10])
def test_readable(text):
    assert is_readable(text, max_chars=10)


@pytest.mark.parametrize(
    "text", ["", " \n", "...", "a\x00", "a\x1b", "a\x7f", "a\x85", "a\ufffd", "x" * 11]
)
def test_not_readable(text):
    assert not is_readable(text, max_chars=10)


def test_an_unpaired_surrogate_is_not_readable():
    assert not is_readable("a" + chr(0xD800), max_chars=10)


@pytest.mark.skipif(not PALM.is_file(), reason=f"needs the benchmark data: {PALM}")
@pytest.mark.parametrize("closing", [" So the answer is {}.", "\nAnswer: {}", "\n#### {}"])
def test_a_closing_put_behind_a_real_rationale_is_found_and_cut_again(closing):
    for row in read_lines(PALM):
        text = row["rationale"] + closing.format(row["answer"])
        assert extract_answer(text, "number") == row["answer"]
        assert strip_closing(text).rstrip(",") == row["rationale"].rstrip(" \n,")
