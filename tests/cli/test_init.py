"""`kpod init`: what it shows of a file, and that its configs run."""

import json

import pytest

from kpod_ray.cli.main import main
from kpod_ray.config import load
from kpod_ray.questions.loading import load_questions
from tests.cli.refusals import refused
from tests.questions.test_formats import TABLES, write


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(capsys, *words):
    """Run the command; return what it prints."""
    with pytest.raises(SystemExit) as ended:
        main(["init", *map(str, words)])
    assert not ended.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
@pytest.mark.parametrize("table", TABLES)
def test_the_config_reads_the_questions_as_they_were_shown(capsys, folder, table, ending):
    write(folder / f"my data.{ending}", TABLES[table])
    text = init(capsys, f"my data.{ending}")
    assert "number          6  7 | 10 | 7" not in text  # an answer is shown once
    assert "6  7 | 10 | 16 | 0.5 | 3000" in text
    assert text.count("train question q-") == 3
    config = load("config.yaml")
    assert config.name == "my-data"
    assert config.teacher.kind == "reference"
    loaded = load_questions(config.questions, config.seed)
    assert sorted(q.answer for q in loaded.questions) == ["0.5", "10", "16", "3000", "7", "7"]
    assert all(q.reference_rationale for q in loaded.questions)


def test_a_file_without_rationales_gets_a_teacher_that_writes_them(capsys, folder):
    write(folder / "q.csv", [{"question": f"{i} + 1?", "answer": i + 1} for i in range(50)])
    init(capsys, "q.csv", "--out", "mine.yaml")
    config = load("mine.yaml")
    assert (config.teacher.kind, config.questions.test_fraction) == ("vllm", 0.2)


def test_a_file_without_answers_has_the_samples_vote(capsys, folder):
    write(folder / "q.csv", [{"question": f"{i} + 1?"} for i in range(5)])
    text = init(capsys, "q.csv")
    assert "none            5" in text
    config = load("config.yaml")
    assert config.questions.allow_missing_answers
    assert len(load_questions(config.questions, 0).questions) == 5


def test_bad_rows_are_shown_and_borne_and_repeats_counted(capsys, folder):
    rows = [{"question": f"{i} + 1?", "answer": i + 1} for i in range(30)]
    hostile = {"question": "\x1b[31m\n\u2028?", "answer": {"\x00": "\n: #"}}
    (folder / "q.jsonl").write_text("\n".join(map(json.dumps, [*rows, hostile, rows[0]])))
    text = init(capsys, "q.jsonl")
    assert "q.jsonl line 31: field 'answer' must be text, not dict" in text
    config = load("config.yaml")
    assert "1 rows repeat an earlier row" in (folder / "config.yaml").read_text()
    loaded = load_questions(config.questions, 0)
    assert (len(loaded.questions), len(loaded.bad_rows), loaded.num_repeats) == (30, 1, 1)


def test_test_questions_of_the_file_are_used(capsys, folder):
    rows = [
        {"question": f"{i} + 1?", "answer": i + 1, "split": "test" if i > 3 else "train"}
        for i in range(6)
    ]
    write(folder / "q.json", rows)
    init(capsys, "q.json")
    assert load("config.yaml").questions.test_fraction == 0


def test_nothing_is_overwritten(capsys, folder):
    write(folder / "q.json", TABLES["plain"])
    (folder / "config.yaml").write_text("mine")
    message = refused(capsys, "init", "q.json")
    assert (
        "config.yaml exists, and kpod init overwrites nothing; name another file by --out"
        in message
    )
    assert (folder / "config.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "rows", "reason"),
    [
        ("q.csv", [{"text": "?"}], "no column is known as the question (there are text)"),
        ("q.json", [{"question": "?", "answer": [1]}], "field 'answer' must be text, not list"),
        ("q.json", [{"question": "?", "answer": 1, "split": "test"}], "no training question"),
        ("q.json", [5], "not an object but int"),
    ],
)
def test_a_file_of_no_use_is_refused_and_no_config_written(capsys, folder, name, rows, reason):
    write(folder / name, rows)
    assert reason in refused(capsys, "init", name)
    assert not (folder / "config.yaml").exists()


def test_a_missing_file_and_a_missing_folder_are_refused(capsys, folder):
    assert "none.csv doesn't exist" in refused(capsys, "init", "none.csv")
    write(folder / "q.json", TABLES["plain"])
    assert "no/c.yaml can't be written" in refused(capsys, "init", "q.json", "--out", "no/c.yaml")


def test_run_until_questions_shows_how_they_were_understood(capsys, folder):
    write(folder / "q.csv", TABLES["problem and solution"])
    init(capsys, "q.csv")
    with pytest.raises(SystemExit) as ended:
        main(["run", "config.yaml", f"storage={folder}/runs", "--until", "questions"])
    assert not ended.value.code
    text = capsys.readouterr().out
    assert "columns of q.csv: question = problem, answer = answer, rationale = solution" in text
    assert "7 | 10 | 16 | 0.5 | 3000" in text
    assert text.count(" question q-") == 3
    assert "Ann has 3 eggs, buys 4.\nHow many?" in text
