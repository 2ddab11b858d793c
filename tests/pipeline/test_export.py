"""A finished corpus leaves a run as a file, and comes back from it as it was."""

import json

import pytest

from kpod_ray.cli.main import main
from kpod_ray.data.corpus import BATCH_ROWS, corpus_rows
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.export import FORMATS, export_corpus
from kpod_ray.pipeline.lookup import FinishedRun, find_run
from kpod_ray.pipeline.naming import open_run
from kpod_ray.pipeline.run import RunCallbacks, run_phases
from kpod_ray.records import Question, WeightedRationale
from tests.json_lines import read_lines
from tests.pipeline.written_runs import (
    QUESTIONS,
    TEXTS,
    config_of,
    finish,
    run_folder,
    weighted,
    written_run,
)


@pytest.fixture
def run(tmp_path):
    made = written_run(tmp_path)
    return FinishedRun("run.yaml", made.store, made.folder, made.config, made.artifacts)


def test_the_corpus_joins_every_rationale_with_its_own_question(run):
    rows = list(corpus_rows(run.artifacts["teacher"], run.artifacts["weigh"]))
    assert [row.question.id for row in rows] == [question.id for question in QUESTIONS]
    for row in rows:
        assert row.rationale.question_id == row.weighted.question_id == row.question.id
        assert row.rationale.text == row.weighted.text


def test_a_weighted_rationale_that_belongs_to_nothing_is_an_error_of_ours(tmp_path):
    made = written_run(tmp_path, QUESTIONS[:2], TEXTS[:2])
    stranger = weighted(QUESTIONS[3], TEXTS[3], 0)
    finish(made, "weigh", {}, weighted=WeightedRationale.to_table([stranger]))
    with pytest.raises(RuntimeError, match="'b'"):
        list(corpus_rows(made.artifacts["teacher"], made.artifacts["weigh"]))


def test_a_corpus_of_several_batches_keeps_its_order(tmp_path):
    count = BATCH_ROWS + 3
    questions = [Question(f"q{i}", "3 + 4?", "7", "number", (), "train", "") for i in range(count)]
    made = written_run(tmp_path, questions, ["So 3 + 4 = 7."] * count)
    found = FinishedRun("c", made.store, made.folder, made.config, made.artifacts)
    assert export_corpus(found, str(tmp_path / "out.jsonl"), "kpod") == count
    assert [row["id"] for row in read_lines(tmp_path / "out.jsonl")] == [q.id for q in questions]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_one_json_object_a_rationale(run, tmp_path, name):
    out = tmp_path / "out.jsonl"
    assert export_corpus(run, str(out), name) == len(QUESTIONS)
    rows = read_lines(out)
    assert len(rows) == len(QUESTIONS)
    assert len({tuple(row) for row in rows}) == 1  # the same columns in every row
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_an_export_that_fails_leaves_what_was_there(run, tmp_path):
    out = tmp_path / "out.jsonl"
    out.write_text("before")
    finish(run, "weigh", {}, weighted=WeightedRationale.to_table([weighted_stranger()]))
    with pytest.raises(RuntimeError, match="'z'"):
        export_corpus(run, str(out), "kpod")
    assert out.read_text() == "before"
    assert [path for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def weighted_stranger():
    return weighted(Question("z", "?", "7", "number", (), "train", ""), "Seven it is.", 0)


def test_an_export_replaces_a_file(run, tmp_path):
    out = tmp_path / "out.jsonl"
    out.write_text("before")
    export_corpus(run, str(out), "messages")
    assert len(read_lines(out)) == len(QUESTIONS)


def imported_config(tmp_path, corpus, **changes):
    path = str(corpus)
    return config_of(
        tmp_path,
        name="again",
        questions={"source": "file", "path": path},
        teacher={"kind": "file", "path": path},
        weighting={"kind": "file", "path": path},
        steps={"split_newlines": False},
        **changes,
    )


def quiet():
    return RunCallbacks(*[lambda *told: None] * len(RunCallbacks.__dataclass_fields__))


def test_questions_teacher_and_weights_of_a_new_run_read_an_export(run, tmp_path, ray_cluster):
    corpus = tmp_path / "corpus.jsonl"
    export_corpus(run, str(corpus), "kpod")
    again = open_run(imported_config(tmp_path, corpus))
    run_phases(again, "weigh", quiet())
    before, after = (
        run.artifacts["weigh"].read("weighted"),
        again.artifacts["weigh"].read("weighted"),
    )
    by_id = {row.question_id: row for row in WeightedRationale.from_table(after)}
    assert len(by_id) == after.num_rows == before.num_rows
    assert [by_id[row.question_id] for row in WeightedRationale.from_table(before)] == list(
        WeightedRationale.from_table(before)
    )
    questions = Question.from_table(again.artifacts["teacher"].read("questions"))
    kinds = {question.id: (question.kind, question.answer) for question in questions}
    assert kinds == {question.id: (question.kind, question.answer) for question in QUESTIONS}
    assert again.artifacts["weigh"].manifest()["counts"] == {"rationales": 6, "unused_rows": 0}


def test_an_export_of_what_was_imported_is_the_same_file(run, tmp_path, ray_cluster):
    corpus, second = tmp_path / "corpus.jsonl", tmp_path / "second.jsonl"
    export_corpus(run, str(corpus), "kpod")
    again = open_run(imported_config(tmp_path, corpus))
    run_phases(again, "weigh", quiet())
    found = FinishedRun("c", again.store, again.folder, again.config, again.artifacts)
    export_corpus(found, str(second), "kpod")
    lost = (
        "teacher",
        "sample_index",
        "num_tokens",
        "logprob",
    )  # what the teacher's file can't tell
    first = sorted(read_lines(corpus), key=lambda row: row["id"])
    for old, new in zip(first, sorted(read_lines(second), key=lambda row: row["id"]), strict=True):
        assert {k: v for k, v in old.items() if k not in lost} == {
            k: v for k, v in new.items() if k not in lost
        }


def test_other_weights_are_another_artifact_and_the_same_ones_are_not(run, tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    export_corpus(run, str(corpus), "kpod")

    def names(**settings):
        weighting = {"kind": "file", "path": str(tmp_path / "weights.jsonl"), **settings}
        config = imported_config(tmp_path, corpus).override({"weighting": weighting})
        artifacts = open_run(config).artifacts
        return {name: artifact.folder for name, artifact in artifacts.items()}

    (tmp_path / "weights.jsonl").write_text(corpus.read_text())
    first = names()
    assert names() == first
    assert names(default_weight=0.5)["weigh"] != first["weigh"]
    (tmp_path / "weights.jsonl").write_text(corpus.read_text().replace("0.", "0.9"))
    changed = names()
    assert changed["weigh"] != first["weigh"]
    assert changed["train"] != first["train"]
    assert changed["teacher"] == first["teacher"]


def test_a_run_is_found_by_its_folder_even_when_the_storage_was_moved(tmp_path):
    folder = run_folder(written_run(tmp_path))
    moved = tmp_path / "elsewhere"
    (tmp_path / "store").rename(moved)
    found = find_run(str(moved / "runs" / folder.name))
    assert found.config.name == "run"
    assert found.finished("weigh").read("weighted").num_rows == len(QUESTIONS)
    assert found.source == str(moved / "runs" / "run" / "config.yaml")


def test_a_run_is_found_by_an_address(tmp_path):
    folder = run_folder(written_run(tmp_path))
    found = find_run(f"file://{folder}")
    assert found.finished("teacher").read("rationales").num_rows == len(QUESTIONS)


def test_a_phase_that_is_not_finished_is_named_with_the_command_that_makes_it(tmp_path):
    made = written_run(tmp_path)
    made.store.delete(f"{made.artifacts['weigh'].folder}/manifest.json")
    config = tmp_path / "c.yaml"
    config.write_text(json.dumps(made.config.model_dump()))
    found = find_run(str(config), ["steps.split_newlines=true"])
    with pytest.raises(KpodError) as caught:
        export_corpus(found, str(tmp_path / "out.jsonl"), "kpod")
    command = f"kpod run {config} steps.split_newlines=true --until weigh"
    assert str(caught.value) == f"run run: phase weigh isn't finished; run {command}"
    assert not (tmp_path / "out.jsonl").exists()


def told_by(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert not caught.value.code
    return capsys.readouterr().out


def test_the_commands_export_and_rationales_take_a_config_or_a_folder(tmp_path, capsys):
    made = written_run(tmp_path)
    folder, config, out = run_folder(made), tmp_path / "c.yaml", tmp_path / "out.jsonl"
    config.write_text((folder / "config.yaml").read_text())
    for place in (str(folder), str(config)):
        out.unlink(missing_ok=True)
        told = told_by(capsys, "export", place, str(out), "--format", "ms-swift")
        assert "6 rationales" in told
        assert "--is_binary_loss_scale false" in told
        assert len(read_lines(out)) == 6
        told = told_by(capsys, "show", place, "rationales", "--num", "1")
        assert "kept: 1 shown of 6" in told
        assert TEXTS[0].splitlines()[0] in told
