"""A corpus read as rows: the same from a run, its config and its exported file."""

import dataclasses
import json

import pytest

from kpod_ray.errors import KpodError
from kpod_ray.pipeline.corpus_reader import WeightedExample, read_corpus
from kpod_ray.pipeline.export import export_corpus
from kpod_ray.pipeline.lookup import find_run
from tests.pipeline.written_runs import QUESTIONS, TEXTS, run_folder, written_run


@pytest.fixture
def folder(tmp_path):
    return run_folder(written_run(tmp_path))


@pytest.fixture
def exported(folder, tmp_path):
    path = tmp_path / "corpus.jsonl"
    export_corpus(find_run(str(folder)), str(path), "kpod")
    return path


def test_every_row_has_its_question_and_the_words_of_its_rationale(folder):
    rows = list(read_corpus(str(folder)))
    assert [row.id for row in rows] == [question.id for question in QUESTIONS]
    for row, question, text in zip(rows, QUESTIONS, TEXTS, strict=True):
        assert (row.question, row.answer) == (question.question, question.answer)
        assert row.choices == tuple(question.choices)
        assert row.rationale == text
        assert [text[start:end] for start, end, _ in row.token_weights] == text.split()
        assert all(0 <= weight <= 1 for _, _, weight in row.token_weights)
        assert "".join(text[start:end] for start, end in row.steps) == text


def test_a_run_its_config_and_its_export_give_equal_rows(folder, exported):
    rows = list(read_corpus(str(folder)))
    assert list(read_corpus(str(folder / "config.yaml"), ["seed=0"])) == rows
    assert list(read_corpus(str(exported))) == rows
    assert all(isinstance(row, WeightedExample) for row in rows)


def test_the_ending_of_a_file_may_be_in_capitals(exported):
    rows = list(read_corpus(str(exported)))
    assert list(read_corpus(str(exported.rename(exported.with_suffix(".JSONL"))))) == rows


def test_rows_are_plain_values(folder):
    row = json.loads(json.dumps(dataclasses.asdict(next(read_corpus(str(folder))))))
    assert row["question"] == "3 + 4?"
    assert row["steps"][0][0] == 0


def test_a_phase_that_is_not_finished_is_said_before_any_row(tmp_path):
    made = written_run(tmp_path)
    made.store.delete(f"{made.artifacts['weigh'].folder}/manifest.json")
    with pytest.raises(
        KpodError, match=r"phase weigh isn't finished; run kpod run .* --until weigh"
    ):
        read_corpus(str(run_folder(made)))


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(KpodError, match=r"file /nowhere.jsonl doesn't exist"):
        read_corpus("/nowhere.jsonl")


def test_a_row_of_another_format_is_named(folder, tmp_path):
    path = tmp_path / "messages.jsonl"
    export_corpus(find_run(str(folder)), str(path), "messages")
    with pytest.raises(
        KpodError, match=r"messages.jsonl line 1: no row of kpod export in the format kpod"
    ):
        next(read_corpus(str(path)))


@pytest.mark.parametrize(
    ("line", "told"),
    [("{", "not JSON"), ('{"id": "q", "steps": [[1]]}', "no row of kpod export")],
)
def test_a_broken_row_is_named(exported, line, told):
    rows = exported.read_text().splitlines()
    exported.write_text("\n".join([rows[0], line, rows[2]]))
    with pytest.raises(KpodError, match=f"line 2: .*{told}"):
        list(read_corpus(str(exported)))
