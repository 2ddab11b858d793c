import pickle
import re
import threading
import time
import uuid
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from benchmarks.object_server import object_server
from kpod_ray.errors import KpodError
from kpod_ray.models.check import check_model
from kpod_ray.models.folder_check import ModelUse
from kpod_ray.models.random_models import save_tiny_llama
from kpod_ray.models.sources import model_folder
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.atomic_write import send
from kpod_ray.storage.filesystems import check_answers, open_address
from kpod_ray.storage.store import Store

TABLE = pa.table({"id": ["a", "b"], "n": [1, 2]})


@pytest.fixture(scope="module")
def server():
    with object_server() as server:
        server.tell("bucket runs")
        yield server


@pytest.fixture
def environment(server, monkeypatch):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def store(environment):
    return Store.open(f"s3://runs/{uuid.uuid4().hex}")


def test_an_object_store_does_what_a_disk_does(store, tmp_path):
    artifact = Artifact.of(store, "plan", 1, {}, [])
    artifact.write("schedule", TABLE)
    assert not artifact.is_finished()
    artifact.finish({"counts": {"rows": 2}})
    assert artifact.is_finished()
    assert artifact.read("schedule").equals(TABLE)
    (tmp_path / "local").write_bytes(b"abc" * 1000)
    store.upload(tmp_path / "local", f"{artifact.folder}/file")
    store.fetch(f"{artifact.folder}/file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"abc" * 1000
    assert store.files(artifact.folder) == ["file", "manifest.json", "schedule.parquet"]
    assert store.files("nowhere") == store.folders("nowhere") == []
    assert store.folders("plan") == [artifact.fingerprint]
    assert store.folders(artifact.folder) == store.files("plan") == []
    store.delete(artifact.folder)
    assert not store.exists(artifact.folder)


def test_a_write_that_fails_leaves_what_was_there(store):
    store.write_text("note", "before")
    with pytest.raises(AttributeError):
        store.write_table("note", None)
    with (
        pytest.raises(ZeroDivisionError),
        Artifact.of(store, "a", 1, {}, []).writer("t", TABLE.schema),
    ):
        raise ZeroDivisionError
    assert store.read_text("note") == "before"
    assert store.files("a") == []


def test_the_server_may_stand_in_the_address(server, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, server.environment[name])
    host = server.environment["AWS_ENDPOINT_URL"].removeprefix("http://")
    store = Store.open(f"s3://runs/x?endpoint_override={host}&scheme=http&region=us-east-1")
    store.write_text("note", "text")
    filesystem, path = open_address(store.address("note"))
    assert filesystem.open_input_stream(path).read() == b"text"


def test_a_model_is_loaded_from_an_object_store(store, tmp_path):
    save_tiny_llama(tmp_path / "model", 0)
    for file in (tmp_path / "model").iterdir():
        store.upload(file, f"model/{file.name}")
    folder = model_folder(store.address("model"), tmp_path / "cache")
    found = {file.name: file.read_bytes() for file in Path(folder).iterdir()}
    assert found == {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()}


def test_a_server_that_is_away_for_some_seconds_costs_nothing(server, store):
    there = pickle.loads(pickle.dumps(store))  # as another process has it
    store.write_text("note", "before")
    server.tell("stop")
    back = threading.Timer(3.0, server.tell, ["start"])
    back.start()
    started = time.monotonic()
    there.write_text("note", "after")
    assert time.monotonic() - started > 1
    back.join()
    assert store.read_text("note") == "after"
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):  # pyarrow's own gives up sooner
        _write_while_away(server, pafs.S3FileSystem(**_plain_options(store.filesystem)), store.root)


def _plain_options(filesystem):
    return filesystem.__reduce__()[1][0]


def _write_while_away(server, filesystem, root):
    server.tell("stop")
    try:
        filesystem.open_output_stream(f"{root}/other").close()
    finally:
        server.tell("start")


def test_a_bucket_that_is_not_there_is_said_so(environment):
    with pytest.raises(KpodError, match=r"Bucket 'nowhere' not found; make it first$"):
        Store.open("s3://nowhere/runs")


def test_keys_that_may_not_write_are_said_so(monkeypatch):
    with object_server({"INITIAL_NO_AUTH_ACTION_COUNT": "1"}) as guarded:
        guarded.tell("bucket runs")
        for name, value in guarded.environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(KpodError, match=r"can't be written: .*; check the keys") as caught:
            Store.open("s3://runs/x")
        with pytest.raises(KpodError, match=r"can't be reached: .*; check the keys"):
            check_answers("s3://runs/x")
    assert "\n" not in str(caught.value)


def test_a_key_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(KpodError, match="AWS_SECRET_ACCESS_KEY") as caught:
        Store.open("s3://AKIAEXAMPLE:very-secret@bucket/runs")
    assert "secret@" not in str(caught.value)
    assert "AKIA" not in str(caught.value)


def test_an_option_that_is_none_is_said_so():
    with pytest.raises(KpodError, match="regoin"):
        Store.open("s3://bucket/runs?regoin=eu")


class Broken:
    """A source that fails behind its first block."""

    def __init__(self, error):
        self.error = error
        self.blocks = [b"x" * (6 << 20)]  # more than a part of an upload

    def read(self, size):
        if self.blocks:
            return self.blocks.pop()
        raise self.error


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt()])
def test_a_copy_that_fails_leaves_no_half_of_a_file(store, error):
    store.write_text("copy", "before")
    with pytest.raises(type(error)):
        send(Broken(error), store.filesystem, f"{store.root}/copy")
    assert not store.exists("copy")
    with pytest.raises(OSError, match="Input/output error"):
        store.upload(Path("/proc/self/mem"), "file")
    assert not store.exists("file")


def test_a_damaged_file_of_an_object_store_is_named_by_its_address(store):
    artifact = Artifact.of(store, "plan", 1, {}, [])
    artifact.write("schedule", TABLE)
    store.write_text(f"{artifact.folder}/below/totals.json", "[1]")
    artifact.finish({"counts": {}})
    artifact.check()
    assert artifact.faults() == {}
    assert artifact.foreign_files() == []
    store.write_text(f"{artifact.folder}/below/totals.json", "[2]")
    store.delete(f"{artifact.folder}/schedule.parquet")
    assert artifact.faults() == {
        "below/totals.json": "has another content than was written",
        "schedule.parquet": "is missing",
    }
    address = re.escape(store.address(f"{artifact.folder}/schedule.parquet"))
    with pytest.raises(KpodError, match=f"^{address} is missing; delete the folder s3://runs/"):
        artifact.read("schedule")


def test_a_storage_that_answers_and_may_be_written_passes(store, server, monkeypatch):
    check_answers(store.address("anything"))
    store.check_writable()
    with pytest.raises(KpodError, match=r"Bucket 'nowhere' not found; make it first$"):
        check_answers("s3://nowhere/runs")


def test_a_model_at_an_address_is_checked_by_its_headers_and_stays_in_its_folder(
    server, environment, tiny_folder, tmp_path
):
    address = f"s3://runs/{uuid.uuid4().hex}"
    filesystem, path = open_address(address)
    pafs.copy_files(tiny_folder, path, destination_filesystem=filesystem)
    check_model(address, ModelUse("student", "chat"))
    for content in (b"", b"[1]", b'{"model_type": "gpt-9"}'):
        with filesystem.open_output_stream(f"{path}/config.json") as stream:
            stream.write(content)
        with pytest.raises(
            KpodError, match=f"^model {address}: .*(config.json|model_type)"
        ) as told:
            check_model(address, ModelUse("student", "chat"))
        assert "\n" not in str(told.value)
    client = boto3.client("s3", endpoint_url=server.environment["AWS_ENDPOINT_URL"])
    client.put_object(Bucket="runs", Key=f"{path[5:]}/../../outside", Body=b"x")
    with pytest.raises(KpodError, match=r"/\.\./\.\./outside would be written outside the model's"):
        model_folder(address, tmp_path / "cache" / "models")
    assert not list(tmp_path.rglob("outside"))
