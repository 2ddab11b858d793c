"""Further test sets in a run: what they change, and what is made and refused before Ray starts."""

import dataclasses

import pytest

from kpod_ray.config import load
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.checks import check_run
from kpod_ray.pipeline.lookup import find_run
from kpod_ray.pipeline.naming import name_run, open_run
from kpod_ray.pipeline.run import run_phases
from kpod_ray.pipeline.run_files import write_run_files
from kpod_ray.questions.contamination import Contamination
from kpod_ray.questions.further import FURTHER_ARTIFACTS
from kpod_ray.records import Question
from tests.fixtures.finished_run import SMOKE, Notes
from tests.json_lines import write_lines
from tests.questions.test_further import ROWS, row

TRAINING = [
    row("tom", ROWS[0]["question"], rationale="3 + 4 = 7."),
    row("held out", "What is 8 + 9?", "17", split="test"),
]


def run_of(tmp_path, *overrides):
    questions = write_lines(tmp_path / "questions.jsonl", TRAINING)
    settings = [
        f"storage={tmp_path / 'store'}",
        f"questions={{source: file, path: {questions}}}",
        "teacher={kind: reference}",
    ]
    return load(SMOKE, [*settings, *overrides])


def also(tmp_path, rows, name="mine"):
    path = write_lines(tmp_path / f"{name}.jsonl", rows)
    return f"evaluation.also.{name}={{source: file, path: {path}}}"


def folders(config):
    return {name: artifact.folder for name, artifact in name_run(config).artifacts.items()}


def test_a_set_adds_three_artifacts_and_changes_no_other(tmp_path):
    without = folders(run_of(tmp_path))
    one = folders(run_of(tmp_path, also(tmp_path, ROWS)))
    assert without.items() <= one.items()
    assert one.keys() - without.keys() == set(FURTHER_ARTIFACTS)
    assert list(one)[-2:] == list(FURTHER_ARTIFACTS)[1:]
    assert list(one)[:3] == ["questions", "questions_also", "teacher"]


@pytest.mark.parametrize("what", ["content", "name", "setting", "second", "limit", "training"])
def test_what_determines_the_answers_to_a_set_names_its_artifacts_anew(tmp_path, what):
    before = folders(run_of(tmp_path, also(tmp_path, ROWS)))
    sets = [also(tmp_path, ROWS[1:] if what == "content" else ROWS)]
    changes = {
        "name": lambda: [also(tmp_path, ROWS, "other")],
        "setting": lambda: [*sets, "evaluation.also.mine.test_fraction=0.5"],
        "second": lambda: [*sets, also(tmp_path, ROWS, "other")],
        "limit": lambda: [*sets, "evaluation.limit=1"],
        "training": lambda: [*sets, "questions.test_fraction=0.5"],
    }
    after = folders(run_of(tmp_path, *changes.get(what, lambda: sets)()))
    same = {name for name in before if before[name] == after[name]}
    if what == "limit":
        assert "questions_also" in same
    if what != "training":
        assert same >= {"questions", "teacher", "weigh", "assess", "plan", "train"}
    assert not same & set(FURTHER_ARTIFACTS[1:])


def test_the_order_of_sets_changes_nothing(tmp_path):
    sets = [also(tmp_path, ROWS, name) for name in ("a", "b")]
    assert folders(run_of(tmp_path, *sets)) == folders(run_of(tmp_path, *sets[::-1]))


def test_the_cleaned_sets_are_an_artifact_of_their_own(tmp_path):
    bad = [*ROWS, row("bad", "Why?", None)]
    config = run_of(tmp_path, also(tmp_path, bad), also(tmp_path, ROWS[4:5], "one"))
    run = open_run(config.override({"evaluation.also.mine.max_bad_fraction": 0.5}))
    notes = Notes()
    run_phases(run, "questions", notes.callbacks())
    assert notes.started == ["questions", "questions_also"]
    manifest = run.artifacts["questions_also"].manifest()
    assert manifest["sets"] == {
        "mine": {
            "questions": 1,
            "repeats_of_training": 3,
            "repeats_in_set": 3,
            "bad_rows": 1,
        },
        "one": {"questions": 1, "repeats_of_training": 0, "repeats_in_set": 0, "bad_rows": 0},
    }
    assert manifest["counts"] == {
        "questions": 2,
        "repeats_of_training": 3,
        "repeats_in_set": 3,
        "bad_rows": 1,
    }
    made = run.artifacts["questions_also"]
    asked = Question.from_table(made.read("questions_mine"))
    assert [(q.id, q.split) for q in asked] == [("first", "test")]
    repeats = [Contamination(**each) for each in made.read("contamination_mine").to_pylist()]
    assert [r.train_id for r in repeats] == ["tom"] * 3
    assert [r.test_id for r in repeats] == ["equal", "near", "other number"]
    assert made.read("bad_rows_mine")["line"].to_pylist() == [len(bad)]
    assert not made.has("contamination_one")
    assert not made.has("bad_rows_one")
    found = find_run(f"{config.storage}/{run.folder}")
    assert {name: a.folder for name, a in found.artifacts.items()} == folders(run.config)


def test_a_run_whose_folder_lacks_one_of_the_artifacts_of_its_sets_is_damaged(tmp_path):
    run = open_run(run_of(tmp_path, also(tmp_path, ROWS)))
    run_phases(run, "questions", Notes().callbacks())
    for name in FURTHER_ARTIFACTS:
        artifacts = {key: value for key, value in run.artifacts.items() if key != name}
        write_run_files(dataclasses.replace(run, artifacts=artifacts))
        with pytest.raises(KpodError, match=r"artifacts\.json is damaged"):
            find_run(f"{run.config.storage}/{run.folder}")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (ROWS[:2], "no question is left of 2, of which 2 repeat a training question"),
        ([row("a", "Why?", None)], "line 1: field 'answer'"),
        ([], "no question is left of 0"),
    ],
)
def test_a_set_that_cannot_be_asked_is_refused_before_the_run(tmp_path, rows, words):
    config = run_of(tmp_path, also(tmp_path, rows))
    with pytest.raises(KpodError, match=r"^evaluation\.also\.mine: ") as caught:
        check_run(config)
    assert words in str(caught.value)
    assert not (tmp_path / "store").exists()
    run = open_run(config)
    with pytest.raises(KpodError, match=r"^evaluation\.also\.mine: "):
        run_phases(run, "report", Notes().callbacks())
    assert [name for name, made in run.artifacts.items() if made.exists()] == ["questions"]
