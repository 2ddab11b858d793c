"""Every file of a finished run, damaged in every way, and every command that reads the file."""

import contextlib
import os
import re
import shutil
from pathlib import Path

import pytest

from kpod_ray.cli.main import main
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.corpus_reader import read_corpus
from kpod_ray.pipeline.lookup import find_run
from kpod_ray.pipeline.phases import makers
from kpod_ray.pipeline.run import QUIET
from kpod_ray.storage.checksums import sealed
from tests.fixtures.finished_run import SMOKE

READERS = {
    "questions/questions.parquet": ("questions",),
    "teacher/questions.parquet": ("rationales", "export", "read_corpus"),
    "teacher/rationales.parquet": ("rationales", "export", "read_corpus"),
    "teacher/rejects.parquet": ("rationales",),
    "weigh/weighted.parquet": ("rationales", "export", "read_corpus"),
    "assess/difficulties.parquet": ("schedule",),
    "plan/clusters.parquet": ("schedule",),
    "plan/schedule.parquet": ("schedule",),
    "train/decisions.json": ("schedule",),
}
"""File -> commands that read the file, besides `kpod run` and `kpod doctor`, which read every file."""
MANIFEST_READERS = {
    "questions": ("state", "questions"),
    "teacher": ("state", "rationales", "export", "read_corpus"),
    "weigh": ("state", "rationales", "export", "read_corpus"),
    "assess": ("state", "schedule"),
    "plan": ("state", "schedule"),
    "train": ("state", "schedule"),
    "evaluate_before": ("state",),
    "evaluate": ("state",),
}
"""Artifact -> commands that read its manifest, besides `kpod run` and `kpod doctor`."""


def delete(path):
    path.unlink()


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replace(path):
    path.write_bytes(b"PAR1 something else\x00\xff\x1b[31m PAR1")


def make_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = (delete, truncate, flip, replace, make_folder)


@pytest.fixture(scope="module")
def folder(finished, tmp_path_factory):
    """The folder of a run in a copy of its storage."""
    run, _ = finished
    storage = tmp_path_factory.mktemp("damage") / "store"
    shutil.copytree(run.store.root, storage)
    return storage / run.folder


@contextlib.contextmanager
def damaged(path, damage):
    content = path.read_bytes()
    damage(path)
    try:
        yield
    finally:
        if path.is_dir():
            path.rmdir()
        path.write_bytes(content)


def commands(folder, name):
    """Return the arguments of ``kpod`` for a command of the tables above."""
    return {
        "state": ["show", str(folder)],
        "export": ["export", str(folder), f"{folder.parent}/out.jsonl"],
        "run": ["run", str(SMOKE), f"storage={folder.parents[1]}"],
        "doctor": ["doctor", str(folder)],
    }.get(name, ["show", str(folder), name])


def told(capsys, folder, command):
    """Run a command; return its exit code and what it prints."""
    capsys.readouterr()
    if command == "read_corpus":
        with pytest.raises(KpodError) as error:
            list(read_corpus(str(folder)))
        return 2, f"{error.value}\n"
    with pytest.raises(SystemExit) as ended:
        main(commands(folder, command))
    text = capsys.readouterr()
    return ended.value.code, text.err or text.out


def refuse(capsys, folder, command, path):
    """Check that a command is refused with one line that names the file, and what to delete."""
    code, text = told(capsys, folder, command)
    assert code == 2, (command, text)
    assert text.count("\n") == 1, (command, text)
    assert str(path) in text, (command, text)
    is_advised = re.search(r"; delete the folder \S+, and kpod run makes it again$", text.strip())
    assert is_advised or "can't be read" in text, (command, text)


def artifacts(folder):
    return find_run(str(folder)).artifacts


def test_a_whole_run_is_whole(capsys, folder):
    code, text = told(capsys, folder, "doctor")
    assert not code
    assert [line.split()[:2] for line in text.splitlines() if not line.startswith(" ")] == [
        ["whole", f"{name}:"] for name in artifacts(folder)
    ]
    files = {path for a in artifacts(folder).values() for path in Path(a.path).rglob("*.*")}
    listed = [line for line in text.splitlines() if line.startswith(" ")]
    assert len(listed) == len(files) - len(artifacts(folder))  # all but the manifests


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_by_every_command_that_reads_it(capsys, folder, damage):
    num_cases = 0
    for name, artifact in artifacts(folder).items():
        for file in artifact.files():
            path = Path(artifact.path) / file
            readers = [*READERS.get(f"{name}/{file}", ()), "run"]
            if "/" in file and damage is flip:  # `kpod run` looks at the size of such a file
                readers.remove("run")
            with damaged(path, damage):
                for command in readers:
                    refuse(capsys, folder, command, path)
                code, text = told(capsys, folder, "doctor")
                assert code == 1
                lines = [line for line in text.splitlines() if line.startswith("    ")]
                line, advice = [line for line in lines if not re.search(r": [\d,]+ bytes$", line)]
                assert line.startswith(f"    {file}: ")
                assert f"delete the folder {artifact.path}" in advice
                num_cases += len(readers) + 1
    assert num_cases > 50


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES[1:])
def test_a_damaged_manifest_is_named_by_every_command_that_reads_it(capsys, folder, damage):
    for name, artifact in artifacts(folder).items():
        path = Path(artifact.path) / "manifest.json"
        with damaged(path, damage):
            for command in (*MANIFEST_READERS[name], "run"):
                refuse(capsys, folder, command, path)
            code, text = told(capsys, folder, "doctor")
            assert code == 1
            assert str(path) in text


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_student_is_not_evaluated(folder, damage):
    found = find_run(str(folder))
    make = makers(found.config, found.artifacts, QUIET.on_train_step, QUIET.on_rows, QUIET.on_wait)[
        "evaluate"
    ]
    for path in sorted(Path(found.artifacts["train"].path, "student").iterdir()):
        with damaged(path, damage), pytest.raises(KpodError, match=re.escape(str(path))):
            make(found.artifacts["evaluate"])


def test_a_damaged_student_is_no_model_to_start_from(capsys, folder, tmp_path):
    path = Path(artifacts(folder)["train"].path, "student")
    arguments = ["run", str(SMOKE), f"storage={tmp_path}", f"student.model={path}", "--until"]
    with damaged(path / "model.safetensors", flip):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "questions"])
    assert ended.value.code == 2
    text = capsys.readouterr().err
    assert f"{path}/model.safetensors has another content than was written" in text
    assert text.count("\n") == 1
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "questions"])
    assert not ended.value.code


def test_a_file_put_beside_a_student_is_not_loaded(capsys, folder):
    found = find_run(str(folder))
    path = Path(found.artifacts["train"].path, "student", "pytorch_model.bin")
    path.write_bytes(b"pickle")
    make = makers(found.config, found.artifacts, QUIET.on_train_step, QUIET.on_rows, QUIET.on_wait)[
        "evaluate"
    ]
    try:
        with pytest.raises(KpodError, match=f"{path} isn't in the manifest; delete the file"):
            make(found.artifacts["evaluate"])
        code, text = told(capsys, folder, "doctor")
    finally:
        path.unlink()
    assert code == 1
    assert "student/pytorch_model.bin: isn't in the manifest" in text


@pytest.mark.parametrize("name", ["artifacts.json", "config.yaml"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_of_the_run_is_named(capsys, folder, name, damage):
    with damaged(folder / name, damage):
        for command in ("state", "questions", "rationales", "schedule", "export", "doctor"):
            code, text = told(capsys, folder, command)
            assert code == 2, text
            assert text.count("\n") == 1, text
            assert str(folder) in text
            assert "holds no run" in text or name in text or "can't be read" in text


def test_a_pipe_in_place_of_a_manifest_is_not_waited_for(capsys, folder):
    path = Path(artifacts(folder)["teacher"].path, "manifest.json")

    def make_pipe(path):
        path.unlink()
        os.mkfifo(path)

    content = path.read_bytes()
    make_pipe(path)
    try:
        results = {command: told(capsys, folder, command) for command in ("state", "doctor", "run")}
    finally:
        path.unlink()
        path.write_bytes(content)
    assert [code for code, _ in results.values()] == [2, 1, 2]
    for _, text in results.values():
        assert f"{path} can't be read: {path} isn't a file" in text


@pytest.mark.parametrize("text", [{}, {"files": []}, {"files": {"a": {"bytes": "1"}}}])
def test_a_manifest_without_checksums_is_damaged(capsys, folder, text):
    artifact = artifacts(folder)["teacher"]
    path = Path(artifact.path, "manifest.json")
    with damaged(path, lambda p: p.write_text(sealed({"folder": artifact.folder, **text}))):
        refuse(capsys, folder, "rationales", path)


def test_an_artifact_of_another_folder_is_refused(capsys, folder):
    made = artifacts(folder)
    one, other = made["evaluate_before"], made["evaluate"]
    path = Path(one.path, "manifest.json")
    with damaged(path, lambda p: p.write_bytes(Path(other.path, "manifest.json").read_bytes())):
        code, text = told(capsys, folder, "state")
    assert code == 2
    assert f"{path} belongs to {other.folder}" in text


@pytest.mark.parametrize("name", ["questions", "teacher", "plan"])
def test_an_empty_folder_is_a_phase_to_finish_and_a_file_in_its_place_is_named(
    capsys, folder, name, tmp_path
):
    path = Path(artifacts(folder)[name].path)
    table = {"questions": "questions", "teacher": "rationales", "plan": "schedule"}[name]
    shutil.move(path, tmp_path)
    try:
        path.mkdir()
        code, text = told(capsys, folder, table)
        assert code == 2
        assert f"phase {name} isn't finished; run kpod run" in text
        path.rmdir()
        path.write_text("")
        for command in (table, "state", "run"):
            code, text = told(capsys, folder, command)
            assert (code, text) == (2, f"kpod: {path} isn't a folder; delete it\n")
        assert told(capsys, folder, "doctor")[0] == 1
    finally:
        path.unlink(missing_ok=True)
        shutil.move(tmp_path / path.name, path)
