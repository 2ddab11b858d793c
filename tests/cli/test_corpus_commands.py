"""Bad input of what looks at a run or exports it: one line that names the thing and the mend."""

import json

import pytest

from kpod_ray.config import load
from kpod_ray.pipeline.naming import open_run
from kpod_ray.pipeline.run_files import write_run_files
from tests.cli.refusals import refused
from tests.conftest import REPOSITORY

CONFIGS = REPOSITORY / "configs"
SMOKE, SWEEP_SMOKE = str(CONFIGS / "smoke.yaml"), str(CONFIGS / "sweep-smoke.yaml")


def test_a_corpus_that_is_not_there_yet_is_named_with_its_command(capsys, storage, tmp_path):
    out = str(tmp_path / "out.jsonl")
    line = refused(capsys, "export", SMOKE, out, storage)
    told = "phase {0} isn't finished; run kpod run {1} {2} --until {0}"
    assert told.format("teacher", SMOKE, storage) in line
    line = refused(capsys, "show", SMOKE, "rationales", storage)
    assert told.format("teacher", SMOKE, storage) in line
    line = refused(capsys, "show", SMOKE, "schedule", storage)
    assert told.format("plan", SMOKE, storage) in line
    line = refused(capsys, "show", SMOKE, storage, "questions")
    assert told.format("questions", SMOKE, storage) in line
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("table", "there", "gone"),
    [("rationales", "teacher", "questions"), ("schedule", "plan", "assess")],
)
def test_a_deleted_artifact_is_named_with_its_command(capsys, tmp_path, table, there, gone):
    run = open_run(load(SMOKE, [f"storage={tmp_path}"]))
    write_run_files(run)
    config = tmp_path / run.folder / "config.yaml"
    run.artifacts[there].finish({})
    line = refused(capsys, "show", str(config.parent), table)
    command = f"kpod run {config} --until {gone}"
    assert line == f"kpod: run smoke: phase {gone} isn't finished; run {command}"


@pytest.mark.parametrize("command", ["run", "compare", "sweep"])
def test_a_deleted_student_to_start_from_is_named(capsys, storage, tmp_path, command):
    gone = tmp_path / "store" / "train" / "0123456789abcdef" / "student"
    line = refused(capsys, command, SWEEP_SMOKE, storage, f"student.model={gone}")
    assert f"model {gone}: no such model folder" in line


def test_an_unknown_format_is_named_with_those_there_are(capsys, storage, tmp_path):
    out = str(tmp_path / "out.jsonl")
    line = refused(capsys, "export", SMOKE, out, storage, "--format", "csv")
    assert "unknown format 'csv'; there are kpod, messages, ms-swift, prime-rl, trl" in line


@pytest.mark.parametrize("name", ["out.json", "out", "s3://bucket/out.jsonl", "student.seed=3"])
def test_an_export_to_what_is_no_local_jsonl_file_is_refused(capsys, storage, tmp_path, name):
    out = name if "://" in name else str(tmp_path / name)
    line = refused(capsys, "export", SMOKE, out, storage)
    assert f"export to {out}: give a local file that ends in .jsonl" in line


def test_an_export_into_a_folder_that_is_not_there_is_refused(capsys, storage, tmp_path):
    line = refused(capsys, "export", SMOKE, str(tmp_path / "no" / "out.jsonl"), storage)
    assert f"folder {tmp_path / 'no'} doesn't exist" in line


def test_an_unknown_verdict_is_named_with_those_there_are(capsys, storage):
    line = refused(capsys, "show", SMOKE, "rationales", storage, "--verdict", "rong")
    assert "unknown verdict 'rong'; there are kept, reference, surplus" in line


@pytest.mark.parametrize("place", ["nowhere.yaml", "runs/nowhere"])
def test_a_run_that_is_nowhere_is_named(capsys, place):
    assert f"config {place}: No such file" in refused(capsys, "show", place, "rationales")


def test_a_folder_that_is_no_run_is_named(capsys, tmp_path):
    line = refused(capsys, "show", str(tmp_path), "rationales")
    assert f"folder {tmp_path} holds no run" in line
    assert "holds no run" in refused(capsys, "show", "/", "rationales")


def test_an_address_of_no_kind_is_named(capsys):
    assert "nofs://x/runs/y can't be read" in refused(
        capsys, "show", "nofs://x/runs/y", "rationales"
    )


def test_the_settings_of_a_folder_are_not_overridden(capsys, tmp_path):
    line = refused(capsys, "show", str(tmp_path), "rationales", "seed=1")
    assert "give its config.yaml instead" in line


@pytest.mark.parametrize(
    ("weighting", "words"),
    [
        ({"kind": "file", "path": "/nowhere.jsonl"}, ["/nowhere.jsonl", "doesn't exist"]),
        ({"kind": "file"}, ["weighting.path is missing"]),
        ({"kind": "fiel", "path": "x"}, ["weighting.kind", "'file'", "fiel"]),
        (
            {"kind": "file", "path": "x", "default_wieght": 1},
            ["weighting.default_wieght", "weight"],
        ),
        (
            {"kind": "file", "path": "x", "default_weight": 2},
            ["weighting.default_weight", "equal to 1"],
        ),
        ({"kind": "hand", "plain_weight": 1.5}, ["weighting.plain_weight", "equal to 1"]),
        ({"kind": "hand", "path": "x"}, ["unknown key weighting.path"]),
        ({"num_heds": 2}, ["unknown key weighting.num_heds, did you mean weighting.num_heads?"]),
    ],
)
def test_a_wrong_weighting_is_named_by_its_setting(capsys, storage, weighting, words):
    line = refused(
        capsys, "run", SMOKE, "--until", "weigh", storage, f"weighting={json.dumps(weighting)}"
    )
    for word in words:
        assert word in line
