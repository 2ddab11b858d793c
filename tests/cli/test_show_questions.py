"""`kpod show RUN questions`: counts, gold answers, some questions, and what is wrong."""

import dataclasses

import pyarrow as pa
import pytest

from kpod_ray.questions.contamination import find_contamination
from kpod_ray.records import Question
from tests.cli.refusals import refused
from tests.cli.shown_runs import shown, snapshot
from tests.pipeline.written_runs import QUESTIONS, finish, run_folder, written_run

QUESTIONS_SHOWN = [
    *QUESTIONS[:4],
    Question("x", "8 - 1?", "7", "number", (), "test", ""),
    Question("open", "Why?\x1b[31m", "", "text", (), "train", ""),
]


@pytest.fixture
def questions_folder(tmp_path):
    made = written_run(tmp_path)
    rows = [
        {"path": "a.jsonl", "line": 3, "reason": "field answer is missing"},
        {"path": "a.jsonl", "line": 9, "reason": "not JSON"},
    ]
    tables = {
        "questions": Question.to_table(QUESTIONS_SHOWN),
        "bad_rows": pa.Table.from_pylist(rows),
    }
    finish(made, "questions", {"counts": {"train": 5, "test": 1, "bad_rows": 2}}, **tables)
    return run_folder(made)


def test_questions_are_counted_by_split_and_kind(capsys, questions_folder):
    before = snapshot(questions_folder.parents[1])
    text = shown(capsys, questions_folder, "questions", "--num", "2")
    assert text.splitlines()[0] == "questions 6"
    counts = {
        tuple(cells[:2]): int(cells[2])
        for line in text.splitlines()[1:6]
        for cells in [line.split()]
    }
    assert counts == {
        ("test", "number"): 1,
        ("train", "boolean"): 1,
        ("train", "choice"): 1,
        ("train", "number"): 2,
        ("train", "text"): 1,
    }
    assert "a.jsonl line 3: field answer is missing" in text
    ids = [line.split()[2].rstrip(",") for line in text.splitlines() if " question " in line]
    assert ids == ["n", "d", "x"]  # two of each split at most
    assert snapshot(questions_folder.parents[1]) == before


def test_gold_answers_are_counted_by_kind_with_examples(capsys, questions_folder):
    lines = shown(capsys, questions_folder, "questions").splitlines()
    at = lines.index("gold answers")
    golds = {kind: words for kind, *words in (line.split() for line in lines[at + 1 : at + 5])}
    assert golds["number"] == ["3", "7", "|", "2.5"]
    assert golds["choice"] == ["1", "B"]
    assert golds["none"] == ["1"]
    assert "text" not in golds


def test_training_questions_that_repeat_a_test_question_are_shown(capsys, tmp_path):
    made = written_run(tmp_path)
    questions = [
        Question("a", "What is 1 + 1?", "2", "number", (), "train", ""),
        Question("b", "What is 1 + 1?", "2", "number", (), "test", ""),
    ]
    repeats = [dataclasses.asdict(row) for row in find_contamination(questions)]
    tables = {
        "questions": Question.to_table(questions),
        "contamination": pa.Table.from_pylist(repeats),
    }
    finish(made, "questions", {"counts": {}}, **tables)
    text = shown(capsys, run_folder(made), "questions")
    assert "training questions that repeat a test question 1\n" in text
    assert "  equal: train a: 'What is 1 + 1?'; test b: 'What is 1 + 1?'" in text


def test_as_many_bad_rows_as_asked_for_are_shown_with_their_number(capsys, questions_folder):
    text = shown(capsys, questions_folder, "--num", "1", "questions")
    assert "bad rows 2, 1 shown" in text
    assert "a.jsonl line 9" not in text
    assert "a.jsonl line 9: not JSON" in shown(capsys, questions_folder, "questions")


def test_one_question_is_shown_with_its_choices_and_no_control_characters(capsys, questions_folder):
    text = shown(capsys, questions_folder, "questions", "--question", "c")
    assert "train question c, answer B\nWhich is odd?" in text
    assert "B. three" in text
    assert "question n" not in text
    text = shown(capsys, questions_folder, "questions", "--question", "open")
    assert "answer none" in text
    assert "\x1b" not in text


def test_a_question_that_is_not_there_is_named(capsys, questions_folder):
    line = refused(capsys, "show", str(questions_folder), "questions", "--question", "gone")
    assert "there is no question 'gone'" in line
