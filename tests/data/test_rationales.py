"""The verdict on every sample of a teacher, and which rationale of a question goes on."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.config import ColumnsConfig, FileTeacher
from kpod_ray.data.rationales import (
    Sample,
    generation_requests,
    judge,
    read_samples,
    sample_of_completion,
    sample_seed,
)
from kpod_ray.errors import KpodError
from kpod_ray.records import Completion, Question

SETTINGS = FileTeacher(kind="file", path="-", max_reasoning_chars=80)
WITH_REFERENCES = FileTeacher(kind="file", path="-", missing="reference")
REFERENCE = " 2 + 3 = 5 in all. So the answer is 5. "


def question(name="q", answer="5", kind="number", choices=(), reference=""):
    return Question(name, "How many?", answer, kind, choices, "train", reference)


QUESTIONS = {
    q.id: q
    for q in [
        question("number"),
        question("choice", "B", "choice", ("bank", "boat")),
        question("boolean", "yes", "boolean"),
        question("text", "Paris", "text"),
    ]
}
RIGHT, WRONG = "2 + 3 = 5. The answer is 5.", "2 + 3 = 6. The answer is 6."


def sample(text, question_id="number", index=0, finish_reason="stop", teacher_answer=""):
    return Sample(question_id, index, text, finish_reason, 9, teacher_answer)


def judged(*samples, questions=QUESTIONS, settings=SETTINGS):
    return judge(samples, questions, settings, "teacher")


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
        (sample("a" * 81), "unreadable", "", "a" * 81),
        (sample("a" * 78 + " 5"), "kept", "5", "a" * 78 + " 5"),
        (sample(RIGHT, "other"), "unknown_question", "", RIGHT),
        (sample("out of memory", finish_reason="error"), "error", "", "out of memory"),
        (sample("", finish_reason="error"), "error", "", ""),
        (sample("", finish_reason="length"), "truncated", "", ""),
    ],
)
def test_verdict(given, verdict, answer, text):
    (row,) = judged(given)
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
    (row,) = judged(sample("It is 8 or 9.", question_id, teacher_answer=teacher_answer))
    assert (row.verdict, row.predicted_answer) == (verdict, answer)


def test_the_first_correct_sample_is_kept_and_later_ones_are_surplus():
    texts = {0: WRONG, 1: RIGHT, 2: "", 3: "3 + 2 = 5. The answer is 5.", 4: WRONG}
    rows = judged(*(sample(text, index=index) for index, text in texts.items()))
    assert [row.verdict for row in rows] == ["wrong", "kept", "empty", "surplus", "wrong"]
    assert [row.text for row in rows] == [WRONG, "2 + 3 = 5.", "", "3 + 2 = 5.", WRONG]


@given(order=st.permutations(range(6)))
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_samples_changes_nothing(order):
    samples = [sample(RIGHT, index=i) for i in range(2)]
    samples += [sample(RIGHT, "other"), sample(WRONG, index=2)]
    samples += [sample("Yes.", "boolean", index=i) for i in (1, 0)]
    assert judged(*(samples[i] for i in order)) == judged(*samples)


def test_rows_say_where_they_come_from_and_are_sorted():
    rows = judged(sample(RIGHT, index=10), sample(RIGHT, index=2), sample("No.", "boolean"))
    assert [row.id for row in rows] == ["boolean/0", "number/2", "number/10"]
    row = rows[1]
    assert (row.question_id, row.sample_index, row.teacher) == ("number", 2, "teacher")
    assert (row.finish_reason, row.num_tokens) == ("stop", 9)


def test_a_reference_stands_in_where_no_sample_is_correct():
    questions = {q.id: q for q in [question("a", reference=REFERENCE), question("b")]}
    rows = judged(
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
    rows = judged(questions={"a": question("a", reference=REFERENCE)}, settings=WITH_REFERENCES)
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
    rows = judged(sample(text), questions=questions, settings=settings)
    assert [row.id for row in rows] == ["number/0"]


def test_requests_ask_each_question_for_every_sample():
    asked = [question("a"), question("b", "B", "choice", ("bank", "boat"))]
    requests = generation_requests(asked, 2, seed=0)
    assert [request.id for request in requests] == ["a/0", "a/1", "b/0", "b/1"]
    assert requests[3].text == "How many?\nAnswer choices:\nA. bank\nB. boat"
    assert [request.seed for request in requests] == [
        sample_seed(0, name, index) for name in "ab" for index in range(2)
    ]


def test_seeds_are_distinct_and_below_2_to_31():
    seeds = {
        sample_seed(seed, f"q{i}", index)
        for seed in range(2)
        for i in range(250)
        for index in range(4)
    }
    assert len(seeds) == 2000
    assert 0 <= min(seeds) <= max(seeds) < 2**31


def test_seeds_are_stable():
    # printf '0/q/1' | sha256sum  begins with a5387ce2.
    assert sample_seed(0, "q", 1) == 0xA5387CE2 >> 1


def test_a_completion_is_the_sample_that_its_id_says():
    found = sample_of_completion(Completion("set/7/12", "It is 5.", "length", 42))
    assert found == Sample("set/7", 12, "It is 5.", "length", 42, "")


def write_rows(tmp_path, *rows):
    path = tmp_path / "rationales.jsonl"
    path.write_text(
        "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    )
    return str(path)


def test_rationales_are_read_from_a_file_as_samples_in_its_order(tmp_path):
    path = write_rows(
        tmp_path,
        {"id": "a", "rationale": "One.", "finish_reason": "length", "teacher_answer": 5},
        {"id": 7, "rationale": None},
        {"id": "a", "rationale": "Two."},
    )
    assert read_samples(FileTeacher(kind="file", path=path)) == [
        Sample("a", 0, "One.", "length", 0, "5"),
        Sample("7", 0, "", "", 0, ""),
        Sample("a", 1, "Two.", "", 0, ""),
    ]


def test_columns_may_have_other_names(tmp_path):
    path = write_rows(tmp_path, {"qid": "a", "text": "One.", "said": "5"})
    columns = ColumnsConfig(id="qid", rationale="text", teacher_answer="said")
    samples = read_samples(FileTeacher(kind="file", path=path, columns=columns))
    assert samples == [Sample("a", 0, "One.", "", 0, "5")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"rationale": "One."}, "line 2: no column 'id'; set teacher.columns.id"),
        ({"id": "a"}, "line 2: no column 'rationale'; set teacher.columns.rationale"),
        ("{broken", "line 2: not JSON"),
        ("[1]", "line 2: not an object"),
    ],
)
def test_a_broken_row_is_an_error_that_names_its_line(tmp_path, row, message):
    path = write_rows(tmp_path, {"id": "a", "rationale": "One."}, row)
    with pytest.raises(KpodError, match=message):
        read_samples(FileTeacher(kind="file", path=path))


def test_a_missing_file_is_an_error():
    with pytest.raises(KpodError, match=r"nowhere\.jsonl"):
        read_samples(FileTeacher(kind="file", path="nowhere.jsonl"))
