"""Rationales that state their answer first, or are nothing else."""

import pytest

from kpod_ray.answers.extraction import answers_equal, extract_answer
from kpod_ray.answers.final_sentence import leaks_answer, strip_closing
from tests.conftest import SHARED_DATA
from tests.json_lines import read_lines


@pytest.mark.parametrize(
    ("text", "answer", "kind"),
    [
        ("The answer is 12. Because 5 + 7 = 12.", "12", "number"),
        ("Answer: 12\n5 + 7 = 12", "12", "number"),
        ("#### 12\nSince 5 and 7 are 12.", "12", "number"),
        ("The answer is 12 because 5 and 7 are 12.", "12", "number"),
        ("The answer is 12, since 5 + 7 = 12.", "12", "number"),
        ("A: The answer is twelve. 5 and 7 are 12.", "12", "number"),
        ("The answer is $12.00. She spends 5 and 7 dollars.", "12", "number"),
        ("The answer is 1/2. Half of it is 0.5.", "0.5", "number"),
        ("\\(\\boxed{12}\\) as 5 and 7 are 12.", "12", "number"),
        ("The answer is Paris, the capital of France.", "Paris", "text"),
        ("The answer is boat because it floats.", "B", "choice"),
        ("Therefore the correct answer is yes. It can.", "yes", "boolean"),
        ("So, the final answer is (B). A bank holds money.", "B", "choice"),
        ("12.", "12", "number"),
        (" $12", "12", "number"),
        ("B. boat", "B", "choice"),
        ("boat, boat", "B", "choice"),
        ("Paris.", "Paris", "text"),
        ("Yes!", "yes", "boolean"),
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
        "",
        "=",
    ],
)
def test_reasoning_first_is_none(text):
    assert not leaks_answer(text, "12", "number")


def test_another_answer_than_the_right_one_announced_first_is_no_leak():
    assert not leaks_answer("The answer is 13. No: 5 + 7 = 12.", "12", "number")


@pytest.mark.parametrize(
    "text",
    [
        "The answer is a place with a lot of water. That is where a boat swims.",
        "The answer must be a boat. It swims.",
        "The answer is directly named in the question.",
        "A bank lends money, a boat swims.",
    ],
)
def test_words_about_the_answer_are_no_announcement_of_it(text):
    assert not leaks_answer(text, "B", "choice", ("bank", "boat"))


@pytest.mark.parametrize("piece", ["the ", "#### ", "\\", "answer ", "The answer is ", "12 "])
def test_a_megabyte_of_anything_is_looked_through(piece):
    assert leaks_answer(piece * (1_000_000 // len(piece)) + "5 + 7", "12", "number") is False


def rows_of_real_teachers():
    """Yield correct rationales without their closings, their answers and their questions' kinds."""
    for name, kind in [("svamp", "number"), ("gsm8k", "number"), ("commonsenseqa", "choice")]:
        questions = {row["id"]: row for row in read_lines(SHARED_DATA / name / "train.jsonl")}
        for path in sorted((SHARED_DATA / name).glob("teacher_*.jsonl")):
            for row in read_lines(path)[::40]:
                question, text = questions[row["id"]], row["rationale"]
                choices = tuple(question.get("choices") or ())
                answer = extract_answer(str(row.get("teacher_answer") or text), kind, choices)
                reasoning = strip_closing(text).strip()
                if answer and answers_equal(answer, question["answer"], kind) and reasoning:
                    yield path.stem, reasoning, answer, kind, choices


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"{SHARED_DATA} isn't on this machine")
def test_of_real_rationales_hardly_any_leaks_until_its_answer_is_put_first():
    rows = list(rows_of_real_teachers())
    leaks = [row for row in rows if leaks_answer(*row[1:])]
    assert len(rows) > 1500
    assert all(name == "teacher_human_cose" for name, *_ in leaks)  # some are only the choice
    for lead in ("The answer is ", "So, the correct answer is: ", "#### "):
        for _, reasoning, answer, kind, choices in rows:
            shown = f"({answer})" if kind == "choice" else answer
            assert leaks_answer(f"{lead}{shown}.\n{reasoning}", answer, kind, choices)
