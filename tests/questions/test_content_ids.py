"""Ids of questions that have none: from the content, whatever the order of the rows."""

import hashlib
import json
import random

import pytest

from kpod_ray.questions.content_ids import content_id, has_content_id
from kpod_ray.records import Question
from tests.json_lines import write_lines
from tests.questions.question_files import error_of, ids, load, rows_of


def without_ids(rows):
    return [{name: value for name, value in row.items() if name != "id"} for row in rows]


def test_the_id_is_the_documented_hash():
    content = json.dumps(["train", "How many eggs?", "x"]).encode()
    expected = f"q-{hashlib.sha256(content).hexdigest()[:16]}"
    assert content_id(" How many\n\neggs? ", ["x "], "train") == expected


def test_composed_and_decomposed_letters_are_the_same():
    assert content_id("caf\u00e9", (), "train") == content_id("cafe\u0301", (), "train")


@pytest.mark.parametrize(
    "other",
    [
        ("How many eggs", ("x", "y"), "train"),
        ("how many eggs?", ("x", "y"), "train"),
        ("How many eggs?", ("y", "x"), "train"),
        ("How many eggs?", ("x y",), "train"),
        ("How many eggs? x", ("y",), "train"),
        ("How many eggs?", (), "train"),
        ("How many eggs?", ("x", "y"), "test"),
    ],
)
def test_other_questions_have_other_ids(other):
    assert content_id("How many eggs?", ("x", "y"), "train") != content_id(*other)


def test_ids_do_not_depend_on_the_order_of_the_rows(tmp_path):
    rows = without_ids(rows_of(50))
    first = load(tmp_path, rows, test_fraction=0.3)
    random.Random(0).shuffle(rows)
    again = load(tmp_path, rows, test_fraction=0.3)
    assert len(first.questions) == 50
    assert {q.id: q for q in first.questions} == {q.id: q for q in again.questions}
    assert ids(first, "test")


def test_equal_rows_are_one_question_and_counted(tmp_path):
    rows = without_ids(rows_of(3))
    repeat = {**rows[1], "question": f" {rows[1]['question']}\n", "answer": "2.0"}
    loaded = load(tmp_path, [*rows, repeat, repeat])
    assert loaded.questions == load(tmp_path, rows).questions
    assert loaded.num_repeats == 2


def test_one_question_with_two_answers_is_a_bad_row(tmp_path):
    rows = [*without_ids(rows_of(3)), {"question": "1 + 1?", "answer": 3}]
    assert "line 4: the question is that of line 2, but the answer is '3' and not '2'" in error_of(
        tmp_path, rows
    )
    assert len(load(tmp_path, rows, max_bad_fraction=0.5).bad_rows) == 1


def test_a_training_question_may_repeat_a_test_question(tmp_path):
    rows = without_ids(rows_of(3))
    test = write_lines(tmp_path / "test.jsonl", rows[:1])
    loaded = load(tmp_path, rows, test_path=test)
    assert len({question.id for question in loaded.questions}) == 4
    assert [repeat.similarity for repeat in loaded.contamination] == [1]


def test_a_row_without_an_id_in_a_file_with_ids_is_a_bad_row(tmp_path):
    rows = [*rows_of(3), *without_ids(rows_of(4)[3:])]
    assert "line 4: field 'id' is missing" in error_of(tmp_path, rows)


def test_an_id_of_its_own_is_no_content_id():
    question = Question("q0", "?", "1", "number", (), "train", "")
    assert not has_content_id(question)
    assert has_content_id(
        Question(content_id("?", (), "train"), "?", "1", "number", (), "train", "")
    )
