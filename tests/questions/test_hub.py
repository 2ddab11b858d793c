"""Questions of Hugging Face data sets, read by the real library from a folder or not at all.

Each load runs in its own process: `datasets` reads where its cache is, and whether it may use the
network, once when it is imported.
"""

import json
import os
import subprocess
import sys

import pytest

from kpod_ray.questions.content_ids import content_id
from tests.json_lines import write_lines

PROGRAM = """
import dataclasses, json, sys
from kpod_ray.config import HubQuestions
from kpod_ray.questions.loading import load_questions
from kpod_ray.errors import KpodError
try:
    loaded = load_questions(HubQuestions(source="hub", **json.loads(sys.argv[1])), seed=0)
    print(json.dumps([dataclasses.astuple(question) for question in loaded.questions]))
except KpodError as error:
    print(json.dumps(str(error)))
"""


def load(tmp_path, **settings):
    """Return the questions as lists, or the text of the KpodError."""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(settings)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def folder(tmp_path, **splits):
    """Write a data set of one JSON Lines file a split."""
    at = tmp_path / "set"
    at.mkdir()
    for split, rows in splits.items():
        write_lines(at / f"{split}.jsonl", rows)
    return str(at)


def test_rows_without_an_id_column_get_ids_from_their_content(tmp_path):
    rows = [{"question": f"{i}?", "answer": f"It is {i}.\n#### {i},000"} for i in (1, 2)]
    at = folder(tmp_path, train=rows, test=rows[:1])
    ids = [content_id(*of) for of in (("1?", (), "train"), ("2?", (), "train"), ("1?", (), "test"))]
    assert len(set(ids)) == 3
    assert load(tmp_path, dataset=at, answer_separator="####") == [
        [ids[0], "1?", "1000", "number", [], "train", "It is 1."],
        [ids[1], "2?", "2000", "number", [], "train", "It is 2."],
        [ids[2], "1?", "1000", "number", [], "test", "It is 1."],
    ]


def test_ids_of_the_data_set_are_kept_and_splits_are_those_of_the_config(tmp_path):
    row = {"question": "?", "answerKey": "b", "split": "test"}
    row["choices"] = {"label": ["a", "b"], "text": ["cat", "dog"]}
    at = folder(tmp_path, train=[{"id": "x", **row}], validation=[{"id": "y", **row}])
    questions = load(tmp_path, dataset=at, test_split="validation", columns={"answer": "answerKey"})
    assert questions == [
        ["x", "?", "B", "choice", ["cat", "dog"], "train", ""],
        ["y", "?", "B", "choice", ["cat", "dog"], "test", ""],
    ]


def test_a_bad_row_names_data_set_split_and_row(tmp_path):
    rows = [{"question": "?", "answer": "1"}, {"question": "?", "answer": ""}]
    at = folder(tmp_path, train=rows[:1], test=rows)
    error = load(tmp_path, dataset=at)
    assert error.startswith(f"questions {at} test row 2: field 'answer' is empty")


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"dataset": "openai/gsm8k", "subset": "main"}, ["'openai/gsm8k'", "'train'"]),
        ({"dataset": "./no/such/folder"}, ["'./no/such/folder'"]),
    ],
)
def test_a_data_set_that_cannot_be_reached_is_one_line_with_the_mend(tmp_path, settings, names):
    error = load(tmp_path, **settings)
    assert isinstance(error, str)
    assert all(name in error for name in names)
    assert "use source: file" in error
    assert "\n" not in error


def test_a_split_that_the_data_set_lacks_is_one_line_naming_it(tmp_path):
    at = folder(tmp_path, train=[{"question": "?", "answer": "1"}])
    error = load(tmp_path, dataset=at)
    assert "split 'test'" in error
    assert "\n" not in error
    assert len(load(tmp_path, dataset=at, test_split=None)) == 1
