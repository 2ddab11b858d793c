"""Announcements: yielded from the last to the first, each with its own sentence or calculation."""

import pytest

from kpod_ray.answers.markers import LONGEST_ANSWER, announced, breaks, last_break, sentence_length


def test_the_last_announcement_comes_first():
    text = "The answer is 5. No.\n#### 6\nSo \\boxed{7} is it."
    assert [segment.strip() for segment in announced(text)] == ["7", "6", "5."]


def test_a_box_holds_its_inner_braces_and_an_open_one_the_line():
    assert list(announced("\\boxed{x_{1} = {4}} and 5")) == ["x_{1} = {4}"]
    assert list(announced("\\boxed{x_{1 and\n5")) == ["x_{1 and"]


@pytest.mark.parametrize(
    ("text", "segment"),
    [
        ("Answer: 3 + 4 = 7\n7 * 2 = 14\nDone", "3 + 4 = 7\n7 * 2 = 14\n"),
        ("Answer: 3 + 4 =\n7\n8", "3 + 4 =\n7\n"),
        ("Answer: 3 + 4 = 7\nDone\n7 * 2 = 14", "3 + 4 = 7\n"),
        ("Answer: seven\n7 * 2 = 14", "seven\n"),
        ("Answer: B. the bank. It is", "B. the bank."),
    ],
)
def test_an_announcement_holds_a_sentence_or_a_calculation_of_several_lines(text, segment):
    assert list(announced(text)) == [segment]


def test_no_more_than_the_longest_answer_is_looked_at():
    assert [len(segment) for segment in announced("Answer: " + "x" * 1000)] == [LONGEST_ANSWER - 1]


@pytest.mark.parametrize("text", ["", "He answers 5", "The answer is not 5", "#### Step 2: add"])
def test_a_text_without_announcement_has_none(text):
    assert list(announced(text)) == []


def test_sentences_end_at_stops_marks_and_lines():
    assert breaks("One. Two! Three?\n\n4.5 a") == [4, 9, 16, 18]
    assert last_break("One. Two! Three?\n\n4.5 a") == 18
    assert last_break("One. Mr. Two") == 4
    assert last_break("no end") == 0
    assert sentence_length("B. the bank. It") == 12
    assert sentence_length("no end") == 6
