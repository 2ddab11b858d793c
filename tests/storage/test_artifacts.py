import os
import signal
import subprocess
import sys

import pyarrow as pa
import pytest

from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store

TABLE = pa.table({"id": ["a", "b"], "n": [1, 2]})


@pytest.fixture
def store(tmp_path):
    return Store.open(str(tmp_path / "store"))


def test_a_fingerprint_is_a_function_of_content_alone(store):
    first = Artifact.of(store, "weigh", 1, {"a": 1, "b": [2, 3]}, ["x"])
    again = Artifact.of(store, "weigh", 1, {"b": [2, 3], "a": 1}, ["x"])
    assert first == again
    others = [
        Artifact.of(store, "weigh", 1, {"a": 1, "b": [3, 2]}, ["x"]),
        Artifact.of(store, "weigh", 2, {"a": 1, "b": [2, 3]}, ["x"]),
        Artifact.of(store, "weigh", 1, {"a": 1, "b": [2, 3]}, ["y"]),
        Artifact.of(store, "assess", 1, {"a": 1, "b": [2, 3]}, ["x"]),
    ]
    assert len({artifact.fingerprint for artifact in [first, *others]}) == 5


def test_an_artifact_is_finished_by_its_manifest_and_by_nothing_else(store):
    artifact = Artifact.of(store, "plan", 1, {}, [])
    artifact.write("schedule", TABLE)
    assert not artifact.is_finished()
    artifact.finish({"counts": {"rows": 2}})
    assert artifact.is_finished()
    assert artifact.manifest() == {"phase": "plan", "counts": {"rows": 2}}
    assert artifact.read("schedule").equals(TABLE)


def test_a_json_file_of_an_artifact_is_read_by_its_name(store):
    artifact = Artifact.of(store, "plan", 1, {}, [])
    store.write_text(f"{artifact.folder}/totals.json", '{"ceilings": [1.5, 2]}')
    assert artifact.read_json("totals") == {"ceilings": [1.5, 2]}


def test_a_file_whose_writer_was_killed_is_not_there(store):
    script = f"""
import os, signal
import pyarrow as pa
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store
artifact = Artifact.of(Store.open({store.root!r}), "teacher", 1, {{}}, [])
schema = pa.schema([("x", pa.int64())])
with artifact.writer("t", schema) as writer:
    writer.write_table(pa.table({{"x": range(1000)}}))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    artifact = Artifact.of(store, "teacher", 1, {}, [])
    assert killed.returncode == -signal.SIGKILL
    assert len(os.listdir(artifact.path)) == 1
    assert store.files(artifact.folder) == []
    artifact.write("t", pa.table({"x": [1]}))
    assert store.files(artifact.folder) == ["t.parquet"]
