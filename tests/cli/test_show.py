"""`kpod show` tells what there is of a run, and writes nothing."""

import json
from pathlib import Path

import pytest
import yaml

from kpod_ray.cli.main import main
from kpod_ray.config import load
from kpod_ray.pipeline.fingerprints import SCHEMA_VERSION
from kpod_ray.pipeline.naming import PHASES, name_run
from kpod_ray.records import Prediction
from tests.cli.refusals import refused
from tests.cli.shown_runs import shown, snapshot
from tests.cli.test_corpus_commands import SMOKE
from tests.evaluation.test_further import SOURCES
from tests.pipeline.further_sets import finish_further_sets
from tests.pipeline.written_runs import finish, run_folder, written_run


def states(text):
    """Return state, seconds and counts of each phase that is listed."""
    rows = text.partition("counts\n")[2].partition("report:")[0].splitlines()
    return {cells[0]: cells[1:] for row in rows if len(cells := row.split(maxsplit=3)) > 1}


@pytest.fixture
def folder(tmp_path):
    return run_folder(written_run(tmp_path))


def test_the_state_names_every_phase_and_what_is_to_do(capsys, folder):
    before = snapshot(folder.parents[1])
    text = shown(capsys, folder)
    assert text.splitlines()[:2] == ["run run", f"folder {folder}"]
    told = states(text)
    assert told["teacher"] == ["finished", "0.0", "questions 6, samples 6, tokens 54, kept 6"]
    assert told["weigh"] == ["finished", "0.0", "rationales 6"]
    assert told["train"] == ["missing"]
    assert [name for name in told if not name.endswith("_before")] == list(PHASES[:-1])
    assert f"report: none yet; run kpod run {folder}/config.yaml" in text
    assert snapshot(folder.parents[1]) == before


def test_a_finished_run_has_its_accuracies_and_its_report(capsys, tmp_path):
    made = written_run(tmp_path)
    folder = run_folder(made)
    shares = {
        "evaluate_before": {"value": 0.25, "low": 0.125, "high": 0.5},
        "evaluate": {"value": 0.75, "low": 0.5, "high": 0.875},
    }
    (folder / "report.html").write_text("")
    for name in ("assess", "plan", "train"):
        finish(made, name, {"counts": {}, "keypoint_share": 0.4567})
    steps = {
        "evaluate_before": {"num_compared": 0, "generated_minus_gold": None, "early_stops": None},
        "evaluate": {"num_compared": 6, "generated_minus_gold": 0.25, "early_stops": 0.5},
    }
    for name, share in shares.items():
        assert "report: none yet" in shown(capsys, folder)  # what is there is of other settings
        num_correct = int(8 * share["value"])
        rows = [
            Prediction(f"q{i}", "", "stop", 1, "", "", i < num_correct) for i in reversed(range(8))
        ]
        table = Prediction.to_table(rows)
        manifest = {"counts": {"questions": 8}, "accuracy": share, "steps": steps[name]}
        finish(made, name, manifest, predictions=table)
    text = shown(capsys, folder)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    assert ["untouched", "25.0%", "12.5% to 50.0%", "8", "-", "-"] in rows
    assert ["distilled", "75.0%", "50.0% to 87.5%", "8", "+0.25", "50.0%"] in rows
    assert "keypoint share of the loss weight of the rationales: 45.7%" in text
    assert text.splitlines()[-1] == f"report: {folder}/report.html"
    (line,) = [line for line in text.splitlines() if line.startswith("distilled against")]
    assert "+50.0\u00a0points" in line
    assert "4 questions right only afterwards and 0 only before: not distinguishable with 8" in line
    assert "(McNemar's p = 0.125;" in line  # 2 / 2 ** 4


def test_warnings_of_finished_phases_are_shown_as_in_the_report(capsys, tmp_path):
    made = written_run(tmp_path)
    folder = run_folder(made)
    assert "two weighters collapsed" not in shown(capsys, folder)
    finish(made, "assess", {"counts": {}, "warning": "two weighters collapsed\x1b[31m"})
    assert "\nassess: two weighters collapsed\u241b[31m\n" in shown(capsys, folder)


def test_a_phase_that_was_stopped_is_begun(capsys, tmp_path):
    made = written_run(tmp_path)
    made.store.write_text(f"{made.artifacts['train'].folder}/decisions.json", "{}")
    told = states(shown(capsys, run_folder(made)))
    assert told["train"] == ["begun"]
    assert told["evaluate"] == ["missing"]


def test_a_run_that_was_never_begun_is_missing_and_nothing_is_made(capsys, tmp_path):
    text = shown(capsys, SMOKE, f"storage={tmp_path / 'store'}", "name=other")
    assert text.startswith(f"run other\nfolder {tmp_path / 'store'}/runs/other\n")
    assert {cells[0] for cells in states(text).values()} == {"missing"}
    assert list(tmp_path.iterdir()) == []


def test_a_config_and_its_folder_show_the_same(capsys, folder, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text((folder / "config.yaml").read_text())
    by_folder, by_config = shown(capsys, folder), shown(capsys, config)
    assert by_folder.replace(f"{folder}/config.yaml", str(config)) == by_config


def test_the_models_of_a_run_that_is_shown_may_be_gone(capsys, tmp_path):
    settings = [f"storage={tmp_path / 'store'}", "teacher.model=packaged:gone"]
    assert "teacher          missing" in shown(capsys, SMOKE, *settings)


def test_further_sets_have_a_row_each_once_both_students_are_asked(capsys, tmp_path):
    made = written_run(tmp_path, evaluation={"also": SOURCES})
    folder = run_folder(made)
    text = shown(capsys, folder)
    assert "further test sets" not in text
    assert states(text)["evaluate_also_before"] == ["missing"]
    assert "teacher               finished       0.0  questions 6" in text
    finish_further_sets(made)
    text = shown(capsys, folder)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    (row,) = [row for row in rows if row[:1] == ["sums"]]
    assert row[1:5] == ["40", "3", "25.0%", "90.0%"]
    assert row[5].startswith("+65.0 (")
    assert ["odd-one", "2", "0", "50.0%", "50.0%"] in [row[:5] for row in rows]
    assert states(text)["evaluate_also"] == ["finished", "0.0", "questions 42, correct 37"]


@pytest.mark.parametrize("table", ["questions", "rationales"])
def test_none_shown_of_one_question_still_tells_whether_it_is_there(capsys, folder, table):
    arguments = (folder, table, "--num", "0", "--question")
    assert "question d" not in shown(capsys, *arguments, "d")
    assert "'gone'" in refused(capsys, "show", *map(str, arguments), "gone")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rationale"], "unknown table 'rationale', did you mean rationales?"),
        (["teacher"], "unknown table 'teacher' (there are questions, rationales, schedule)"),
        (["questions", "schedule"], "one table at a time (got questions, schedule)"),
        (["--num", "3"], "--num is an option of kpod show RUN questions and rationales"),
        (["schedule", "--question", "n"], "--question is an option of kpod show RUN questions"),
        (["questions", "--verdict", "kept"], "--verdict is an option of kpod show RUN rationales"),
    ],
)
def test_a_wrong_table_or_option_is_named_with_the_right_ones(capsys, folder, arguments, told):
    assert told in refused(capsys, "show", str(folder), *arguments)


def test_a_table_stands_before_or_behind_overrides_and_options(capsys, folder):
    config, change = str(folder / "config.yaml"), "steps.split_newlines=true"
    texts = {
        shown(capsys, config, *arguments)
        for arguments in (
            ["questions", change, "--num", "1"],
            [change, "questions", "--num", "1"],
            ["--num", "1", change, "questions"],
        )
    }
    assert len(texts) == 1
    assert "questions 6" in texts.pop()


def old_run(tmp_path, **told):
    """The folder of a run as another version would have written it."""
    run = name_run(load(SMOKE, [f"storage={tmp_path / 'store'}"]))
    settings = run.config.model_dump()
    settings["weigher"] = settings.pop("weighting")
    folders = {name: artifact.folder for name, artifact in run.artifacts.items()}
    run.store.write_text(f"{run.folder}/config.yaml", yaml.safe_dump(settings))
    run.store.write_text(f"{run.folder}/artifacts.json", json.dumps({**told, **folders}))
    return Path(run.store.address(run.folder))


@pytest.mark.parametrize(
    ("told", "schema"),
    [
        ({}, "3 or lower"),
        ({"schema_version": SCHEMA_VERSION + 1, "folders": {}}, str(SCHEMA_VERSION + 1)),
    ],
)
def test_a_run_of_another_version_is_refused_before_its_config_is_read(
    capsys, tmp_path, told, schema
):
    folder, out = str(old_run(tmp_path, **told)), str(tmp_path / "out.jsonl")
    before = snapshot(tmp_path)
    for arguments in (["show", folder], ["show", folder, "rationales"], ["export", folder, out]):
        line = refused(capsys, *arguments)
        assert (
            f"run {folder} was made by another version of kpod_ray (schema {schema}, this" in line
        )
        assert "kpod run CONFIG" in line
    assert snapshot(tmp_path) == before


def test_a_config_of_another_version_names_its_unknown_key_and_the_nearest(capsys, tmp_path):
    line = refused(capsys, "run", str(old_run(tmp_path) / "config.yaml"))
    assert "unknown key weigher, did you mean weighting?" in line


def test_a_new_run_makes_its_artifacts_beside_those_of_another_version(capsys, tmp_path):
    folder = old_run(tmp_path)
    old = tmp_path / "store" / "questions" / "0123456789abcdef"
    old.mkdir(parents=True)
    (old / "manifest.json").write_text('{"counts": "of another kind"}')
    before = snapshot(old)
    with pytest.raises(SystemExit) as ended:
        main(["run", SMOKE, f"storage={tmp_path / 'store'}", "--until", "questions"])
    assert not ended.value.code
    assert len(list(old.parent.iterdir())) == 2
    assert snapshot(old) == before
    capsys.readouterr()
    assert states(shown(capsys, folder))["questions"][2:] == ["train 12, test 4"]


@pytest.mark.parametrize("content", ["", "[]", '{"schema_version": 4}', "{"])
def test_a_damaged_run_is_named_in_one_line(capsys, folder, content):
    (folder / "artifacts.json").write_text(content)
    text = refused(capsys, "show", str(folder))
    assert "damaged" in text or "another version" in text
    assert str(folder) in text


def test_a_file_that_is_missing_in_a_finished_phase_is_named(capsys, folder):
    for file in (folder.parents[1] / "questions").rglob("questions.parquet"):
        file.unlink()
    text = refused(capsys, "show", str(folder), "questions")
    assert "questions.parquet is missing; delete the folder" in text


def test_a_file_that_is_no_text_is_no_config(capsys, tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in refused(capsys, "show", str(tmp_path / "a.yaml"))
