"""A storage that can't be written, is gone or doesn't answer: one line, soon."""

import os
import tempfile
import time
from pathlib import Path

import pytest

from kpod_ray.cluster.failures import explained
from kpod_ray.errors import KpodError
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.filesystems import ANSWER_SECONDS, check_answers
from kpod_ray.storage.store import Store
from tests.cli.refusals import refused
from tests.cli.test_corpus_commands import SMOKE
from tests.pipeline.written_runs import run_folder, written_run
from tests.storage.failing_storage import as_nobody, closed_port, read_only, silent_server

KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REGION": "us-east-1",
}


@pytest.fixture
def place():
    """A folder that everybody may search, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="kpod-test-") as name:
        yield Path(name)


@pytest.fixture
def folder(place):
    """The folder of a run that everybody may read and only its owner may write."""
    folder = run_folder(written_run(place))
    for path in [*place.rglob("*"), place]:
        os.chmod(path, 0o755 if path.is_dir() else 0o644)
    return folder


def snapshot(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_looking_needs_no_right_to_write(folder, place):
    before = snapshot(place)
    config = str(folder / "config.yaml")
    places = (str(folder), config)
    results = as_nobody(
        *(["show", run, *table] for run in places for table in ([], ["questions"], ["rationales"])),
        ["doctor", str(folder)],
        *(["export", run, f"{place}/out.jsonl"] for run in places),
    )
    assert [code for code, _ in results] == [0] * 7 + [2, 2]
    for _, text in results[-2:]:
        assert text.startswith(f"kpod: export to {place}/out.jsonl: Permission denied")
    assert snapshot(place) == before


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("which", ["file", "artifact", "run"])
def test_what_may_not_be_read_is_named(folder, which):
    artifact = next((folder.parents[1] / "questions").iterdir())
    path = {"file": artifact / "questions.parquet", "artifact": artifact, "run": folder}[which]
    path.chmod(0)
    ((code, text),) = as_nobody(["show", str(folder), "questions"])
    assert (code, text.count("\n")) == (2, 1), text
    assert str(path) in text
    assert "Permission denied" in text


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_run_names_the_storage_that_it_may_not_write(folder):
    ((code, text),) = as_nobody(["run", f"{folder}/config.yaml", "--until", "questions"])
    assert (code, text.count("\n")) == (2, 1), text
    assert "can't be written: Permission denied" in text


def test_a_storage_that_is_not_there_is_not_made_by_looking(capsys, tmp_path):
    storage = f"storage={tmp_path / 'store'}"
    for table in ("questions", "rationales", "schedule"):
        assert "isn't finished" in refused(capsys, "show", SMOKE, table, storage)
    refused(capsys, "export", SMOKE, f"{tmp_path}/out.jsonl", storage)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["nowhere/below/store", "file/store", "."])
def test_whether_a_storage_can_be_written_is_known_without_writing(tmp_path, place):
    (tmp_path / "file").write_text("")
    store = Store.at(str(tmp_path / place))
    if place == "file/store":
        with pytest.raises(KpodError, match=f"can't be written: {tmp_path}/file is no folder"):
            store.check_writable()
    else:
        store.check_writable()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_turns_read_only_is_said_so(tmp_path):
    store = Store.open(str(tmp_path / "store"))
    store.write_text("a/note", "before")
    with read_only(tmp_path / "store") as is_read_only:
        if not is_read_only:
            pytest.skip("mounting needs root")
        with pytest.raises(KpodError, match="is read-only for this user"):
            store.check_writable()
        with pytest.raises(KpodError, match="can't be written: Read-only file system"):
            Store.open(store.root)
        with (
            pytest.raises(KpodError, match=r"the storage failed: .*Read-only file system"),
            explained(),
        ):
            store.write_text("a/note", "after")
        assert store.read_text("a/note") == "before"
    assert os.listdir(f"{store.root}/a") == ["note"]


def test_an_artifact_deleted_during_a_run_is_named(tmp_path):
    artifact = Artifact.of(Store.open(str(tmp_path)), "assess", 1, {}, [])
    with (
        pytest.raises(KpodError, match=f"the storage failed: .*{artifact.path}/x.parquet"),
        explained(),
    ):
        artifact.store.read_table(f"{artifact.folder}/x.parquet")
    with pytest.raises(FileNotFoundError), explained():  # no file of a storage: an error of ours
        Path("/nowhere/weights.bin").read_bytes()


@pytest.fixture(params=[pytest.param("silent", marks=pytest.mark.slow), "closed", "unknown"])
def endpoint(request, monkeypatch):
    """An address of S3 whose server is silent, refuses connections or has no known name."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    if request.param == "silent":
        with silent_server() as host:
            yield host
    else:
        yield closed_port() if request.param == "closed" else "nowhere.invalid:80"


def test_an_object_store_that_does_not_answer_is_named_within_seconds(capsys, endpoint, tmp_path):
    address = f"s3://runs/store?endpoint_override={endpoint}&scheme=http"
    run = f"s3://runs/store/runs/smoke?endpoint_override={endpoint}&scheme=http"
    started = time.monotonic()
    lines = [
        refused(capsys, "run", SMOKE, f"storage={address}"),
        refused(capsys, "show", run),
        refused(capsys, "export", SMOKE, f"{tmp_path}/out.jsonl", f"storage={address}"),
    ]
    assert time.monotonic() - started < 3 * (ANSWER_SECONDS + 5)
    for line in lines:
        assert "storage s3://runs/store" in line
        assert "can't be reached: " in line
        assert "check AWS_ENDPOINT_URL and the network" in line


@pytest.mark.slow
def test_a_mount_that_hangs_is_named_within_seconds(monkeypatch):
    with silent_server() as host:  # GCS repeats a request for minutes
        started = time.monotonic()
        address = f"gs://bucket/x?endpoint_override={host}&scheme=http"
        with pytest.raises(KpodError, match="doesn't answer within 10 s"):
            check_answers(address)
    assert time.monotonic() - started < ANSWER_SECONDS + 3


def test_a_copy_that_fails_leaves_no_file_that_looks_finished(tmp_path):
    store = Store.open(str(tmp_path))
    with pytest.raises(OSError, match="Input/output error"):
        store.upload(Path("/proc/self/mem"), "folder/file")
    assert not store.exists("folder/file")
    assert store.files("folder") == []
