"""What reasoning models think before they reply, kept or dropped."""

import pytest

from kpod_ray.config import FileTeacher
from kpod_ray.records import Question
from kpod_ray.teacher.filtering import filter_samples
from kpod_ray.teacher.samples import Sample
from kpod_ray.teacher.thoughts import reply_of

THOUGHTS = "Maybe it is 4. Wait, 2 + 3 = 5, so it can't be 4."
REPLY = "2 and 3 more are 2 + 3 = 5. The answer is 5."
QUESTION = Question("a", "2 + 3?", "5", "number", (), "train", f"<think>{THOUGHTS}</think>{REPLY}")


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        (REPLY, REPLY),
        (" as it is ", " as it is "),
        (f"<think>\n{THOUGHTS}\n</think>\n\n{REPLY}\n", REPLY),
        (f"{THOUGHTS}</think>{REPLY}", REPLY),
        (f"Let me see.\n<think>{THOUGHTS}</think>\n{REPLY}", f"Let me see.\n\n{REPLY}"),
        (f"<think>a</think>b<think>c</think>{REPLY}", REPLY),
        (f"<think>{THOUGHTS}", ""),
        (f"Well. <think>{THOUGHTS}", "Well."),
        (f"<think>a</think>Well. <think>{THOUGHTS}", "Well."),
        ("<think></think>", ""),
        ("1 < 2 and <b>thinking</b>", "1 < 2 and <b>thinking</b>"),
    ],
)
def test_the_reply_is_what_follows_the_thoughts(text, reply):
    assert reply_of(text) == reply


def filtered(text, **settings):
    teacher = FileTeacher(kind="file", path="-", **settings)
    samples = [Sample("a", 0, text, "", 0, "")] if text else []
    return filter_samples(QUESTION, samples, teacher, "t", split_newlines=True).rows


def test_thoughts_are_kept_or_dropped_as_the_setting_says():
    text = f"<think>{THOUGHTS}</think>\n{REPLY}"
    (kept,) = filtered(text)
    (dropped,) = filtered(text, thoughts="drop")
    assert kept.text == f"<think>{THOUGHTS}</think>\n2 and 3 more are 2 + 3 = 5."
    assert dropped.text == "2 and 3 more are 2 + 3 = 5."
    assert (kept.verdict, dropped.verdict) == ("kept", "kept")


def test_reference_rationales_lose_their_thoughts_too():
    (row,) = filtered("", fallback="reference", thoughts="drop")
    assert (row.verdict, row.text) == ("reference", "2 and 3 more are 2 + 3 = 5.")
    (row,) = filtered("", fallback="reference")
    assert row.text.startswith("<think>")


def test_thoughts_without_an_end_leave_nothing():
    (row,) = filtered(f"<think>{THOUGHTS}", thoughts="drop")
    assert row.verdict == "empty"


def test_long_traces_of_reasoning_models_are_kept_and_longer_ones_too_long():
    step = "So 2 + 3 = 5, let me check that again. "
    text = f"<think>{step * 2500}</think>{REPLY}"
    assert 90_000 < len(text) < 200_000
    assert [row.verdict for row in filtered(text)] == ["kept"]
    assert [row.verdict for row in filtered(text * 3)] == ["too_long"]
    # What is dropped isn't counted.
    assert [row.verdict for row in filtered(text * 3, thoughts="drop")] == ["kept"]
