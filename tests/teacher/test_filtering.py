"""The verdict on every sample of a teacher, and which rationale of a question goes on."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.config import FileTeacher
from kpod_ray.teacher.filtering import filter_samples
from kpod_ray.teacher.samples import Sample
from tests.teacher.filtered_samples import (
    CHOICES,
    QUESTIONS,
    REFERENCE,
    RIGHT,
    SETTINGS,
    WITH_REFERENCES,
    WRONG,
    question,
    result,
    sample,
    verdicts,
)


@pytest.mark.parametrize(
    ("given", "verdict", "answer", "text"),
    [
        (sample(RIGHT), "kept", "5", "2 + 3 = 5."),
        (sample(" It has 5. \n"), "kept", "5", "It has 5."),
        (sample("It is a boat. Answer: (B)", "choice"), "kept", "B", "It is a boat."),
        (sample("It can. So the answer is yes.", "boolean"), "kept", "yes", "It can."),
        (sample("In France. The answer is Paris.", "text"), "kept", "Paris", "In France."),
        (sample(RIGHT, finish_reason=""), "kept", "5", "2 + 3 = 5."),
        (sample(WRONG), "wrong", "6", WRONG),
        (sample("It is a bank. Answer: (A)", "choice"), "wrong", "A", "It is a bank. Answer: (A)"),
        (sample("I don't know."), "no_answer", "", "I don't know."),
        (sample("In France, Paris.", "text"), "no_answer", "", "In France, Paris."),
        (sample("2 + 3 = 5.", finish_reason="length"), "truncated", "", "2 + 3 = 5."),
        (sample(""), "empty", "", ""),
        (sample(" \n\t"), "empty", "", " \n\t"),
        (sample("The answer is 5."), "empty", "5", "The answer is 5."),
        (sample("5 \ufffd The answer is 5."), "unreadable", "", "5 \ufffd The answer is 5."),
        (sample("5 \x00. The answer is 5."), "unreadable", "", "5 \x00. The answer is 5."),
        (sample("..."), "unreadable", "", "..."),
        (sample("a" * 81), "too_long", "", "a" * 81),
        (sample("a" * 78 + " 5"), "kept", "5", "a" * 78 + " 5"),
        (sample(RIGHT, "other"), "unknown_question", "", RIGHT),
        (sample("out of memory", finish_reason="error"), "error", "", "out of memory"),
        (sample("", finish_reason="error"), "error", "", ""),
        (sample("", finish_reason="length"), "truncated", "", ""),
    ],
)
def test_verdict(given, verdict, answer, text):
    (row,) = result(given)
    assert (row.verdict, row.predicted_answer, row.text) == (verdict, answer, text)


@pytest.mark.parametrize(
    ("question_id", "teacher_answer", "verdict", "answer"),
    [
        ("number", "5", "kept", "5"),
        ("number", "$5.00", "kept", "5"),
        ("number", "6", "wrong", "6"),
        ("number", "unknown", "no_answer", ""),
        ("choice", "B", "kept", "B"),
        ("choice", "boat", "kept", "B"),
        ("choice", "bank", "wrong", "A"),
        ("boolean", "True", "kept", "yes"),
        ("text", "Paris", "kept", "Paris"),
        ("text", " paris. ", "kept", "paris."),
        ("text", "Rome", "wrong", "Rome"),
    ],
)
def test_an_answer_beside_the_text_counts_instead_of_the_one_inside(
    question_id, teacher_answer, verdict, answer
):
    (row,) = result(sample("It is 8 or 9.", question_id, teacher_answer=teacher_answer))
    assert (row.verdict, row.predicted_answer) == (verdict, answer)


def test_the_first_correct_sample_is_kept_and_later_ones_are_surplus():
    texts = {0: WRONG, 1: RIGHT, 2: "", 3: "3 + 2 = 5. The answer is 5.", 4: WRONG}
    rows = result(*(sample(text, index=index) for index, text in texts.items()))
    assert [row.verdict for row in rows] == ["wrong", "kept", "empty", "surplus", "wrong"]
    assert [row.text for row in rows] == [WRONG, "2 + 3 = 5.", "", "3 + 2 = 5.", WRONG]


@given(order=st.permutations(range(6)))
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_samples_changes_nothing(order):
    samples = [sample(RIGHT, index=i) for i in range(2)]
    samples += [sample(RIGHT, "other"), sample(WRONG, index=2)]
    samples += [sample("Yes.", "boolean", index=i) for i in (1, 0)]
    assert result(*(samples[i] for i in order)) == result(*samples)


def test_rows_say_where_they_come_from_and_are_sorted():
    rows = result(sample(RIGHT, index=10), sample(RIGHT, index=2), sample("No.", "boolean"))
    assert [row.id for row in rows] == ["boolean/0", "number/2", "number/10"]
    row = rows[1]
    assert (row.question_id, row.sample_index, row.teacher) == ("number", 2, "teacher")
    assert (row.finish_reason, row.num_tokens) == ("stop", 9)


def test_a_reference_stands_in_where_no_sample_is_correct():
    questions = {q.id: q for q in [question("a", reference=REFERENCE), question("b")]}
    rows = result(
        sample(WRONG, "a"), sample(WRONG, "b"), questions=questions, settings=WITH_REFERENCES
    )
    assert [(row.id, row.verdict) for row in rows] == [
        ("a/reference", "reference"),
        ("a/0", "wrong"),
        ("b/0", "wrong"),
    ]
    assert (rows[0].text, rows[0].predicted_answer) == ("2 + 3 = 5 in all.", "5")
    assert (rows[0].sample_index, rows[0].teacher) == (-1, "reference")


def test_a_reference_stands_in_for_a_question_without_samples():
    rows = result(questions={"a": question("a", reference=REFERENCE)}, settings=WITH_REFERENCES)
    assert [row.id for row in rows] == ["a/reference"]


@pytest.mark.parametrize(
    ("text", "reference", "settings"),
    [
        (RIGHT, REFERENCE, WITH_REFERENCES),
        (WRONG, REFERENCE, SETTINGS),
        (WRONG, "", WITH_REFERENCES),
        (WRONG, " \n", WITH_REFERENCES),
        (WRONG, "So the answer is 5.", WITH_REFERENCES),
    ],
    ids=["a sample is correct", "not asked for", "none", "blank", "no reasoning"],
)
def test_no_reference_stands_in(text, reference, settings):
    questions = {"number": question("number", reference=reference)}
    rows = result(sample(text), questions=questions, settings=settings)
    assert [row.id for row in rows] == ["number/0"]


STEPS = ["It is 2 + 3 = 5.", "She has 2. Then 3 more. That is 5.", "2 and 3. 2 + 3 is 5."]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["kept", "surplus", "surplus"]),
        ({"min_steps": 2}, ["too_short", "kept", "surplus"]),
        ({"max_steps": 1}, ["kept", "too_long", "too_long"]),
        ({"min_steps": 2, "max_steps": 2}, ["too_short", "too_long", "kept"]),
        ({"min_tokens": 10}, ["too_short"] * 3),
        ({"max_tokens": 8}, ["too_long"] * 3),
        ({"min_tokens": 9, "max_tokens": 9}, ["kept", "surplus", "surplus"]),
    ],
)
def test_length_in_reasoning_steps_and_tokens(filters, expected):
    closing = " The answer is 5."  # no reasoning step
    assert verdicts([text + closing for text in STEPS], filters=filters)[0] == expected


def test_tokens_that_were_not_counted_are_neither_too_few_nor_too_many():
    teacher = FileTeacher(kind="file", path="-", filters={"min_tokens": 5})
    uncounted = Sample("number", 0, RIGHT, "", 0, "")
    found = filter_samples(QUESTIONS["number"], [uncounted], teacher, "t", split_newlines=True)
    assert found.rows[0].verdict == "kept"


def test_an_answer_before_the_reasoning_is_a_leak_unless_allowed():
    texts = ["The answer is 5. Because 2 + 3 = 5, she has 5.", RIGHT]
    assert verdicts(texts)[0] == ["leaked", "kept"]
    assert verdicts(texts, filters={"allow_leaks": True})[0] == ["kept", "surplus"]


def test_duplicates_are_marked_after_the_first_and_only_among_the_correct():
    texts = [
        WRONG,
        RIGHT,
        "2  + 3 = 5.\nthe answer is 5.",
        WRONG,
        "She has 3 + 2 = 5 now. It is 5.",
    ]
    assert verdicts(texts)[0] == ["wrong", "kept", "duplicate", "wrong", "surplus"]
    near = [
        "Anna has 2 red and 3 blue balls: 5.",
        "Anna has 2 red and 3 blue balls, 5.",
        "2 + 3 is 5.",
    ]
    assert verdicts(near)[0] == ["kept", "surplus", "surplus"]
    assert verdicts(near, filters={"near_duplicate": 0.5})[0] == ["kept", "duplicate", "surplus"]


FAULTS = [
    ("error", sample("It is 6.", finish_reason="error")),
    ("truncated", sample("", finish_reason="length")),
    ("empty", sample(" ")),
    ("unreadable", sample("\ufffd")),
    ("no_answer", sample("The answer is unknown.")),
    ("wrong", sample("The answer is 6. 3 + 3 = 6.")),
    ("empty", sample("The answer is 5.")),
    ("leaked", sample("The answer is 5. 3 + 2 = 5.")),
    ("too_short", sample("2 + 3 = 5.", index=0)),
    ("too_short", sample("2 + 3 = 5.", index=1)),
]


@pytest.mark.parametrize(("verdict", "given_sample"), FAULTS)
def test_of_several_faults_the_first_in_this_order_is_named(verdict, given_sample):
    settings = FileTeacher(kind="file", path="-", filters={"min_steps": 3})
    (row,) = result(given_sample, settings=settings)
    assert row.verdict == verdict


def test_a_text_cut_by_its_maker_is_truncated():
    (row,) = result(sample(RIGHT, finish_reason="content_filter"))
    assert row.verdict == "truncated"


def test_newlines_end_reasoning_steps_if_wanted():
    text = "2 red balls\n3 blue balls\n2 + 3 = 5 balls\nThe answer is 5."
    teacher = FileTeacher(kind="file", path="-", filters={"max_steps": 2})
    for split_newlines, verdict in ((True, "too_long"), (False, "kept")):
        found = filter_samples(
            QUESTIONS["number"], [sample(text)], teacher, "t", split_newlines=split_newlines
        )
        assert [row.verdict for row in found.rows] == [verdict]


def test_rejects_keep_their_whole_text_and_every_row_its_log_probability():
    texts = [RIGHT, RIGHT, "The answer is 5. 3 + 2 = 5.", "2 and 3 are 5. The answer is 5."]
    names, found = verdicts(texts, logprobs=[-1.0, -2.0, -3.0, None])
    assert names == ["kept", "duplicate", "leaked", "surplus"]
    assert [row.text for row in found.rows] == ["2 + 3 = 5.", RIGHT, texts[2], "2 and 3 are 5."]
    assert [row.logprob for row in found.rows] == [-1.0, -2.0, -3.0, None]


@given(texts=st.lists(st.sampled_from([RIGHT, WRONG, "", *STEPS, *CHOICES]), max_size=7))
@settings(deadline=None)
def test_every_sample_gets_one_verdict_and_no_more_go_on_than_asked_for(texts):
    for num_kept, near in itertools.product([1, 3], [None, 0.3]):
        names, found = verdicts(texts, num_kept=num_kept, filters={"near_duplicate": near})
        assert [row.sample_index for row in found.rows] == list(range(len(texts)))
        assert names.count("kept") == len(found.questions) <= num_kept
        assert ("kept" in names) == any(name in names for name in ("kept", "surplus", "duplicate"))
