import os

import numpy as np
import pyarrow as pa
import pytest

from kpod_ray.errors import KpodError
from kpod_ray.storage.store import Store


@pytest.fixture
def store(tmp_path):
    return Store.open(str(tmp_path / "store"))


def test_a_write_that_fails_leaves_what_was_there(store):
    store.write_text("f.txt", "before")
    with pytest.raises(AttributeError):
        store.write_text("f.txt", None)
    with pytest.raises(AttributeError):
        store.write_table("t.parquet", None)
    assert store.read_text("f.txt") == "before"
    assert store.files(".") == ["f.txt"]


def test_files_and_deleting(store, tmp_path):
    (tmp_path / "local").write_bytes(b"abc")
    store.upload(tmp_path / "local", "folder/a")
    store.write_text("folder/b", "b")
    assert store.files("folder") == ["a", "b"]
    assert store.files("nowhere") == []
    store.fetch("folder/a", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"abc"
    store.delete("folder/a")
    store.delete("folder/a")
    assert store.files("folder") == ["b"]
    store.delete("folder")
    assert not store.exists("folder")


def test_a_storage_that_cannot_be_written_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KpodError, match="can't be written"):
        Store.open(str(tmp_path / "file" / "store"))
    with pytest.raises(KpodError, match="can't be opened: Unrecognized"):
        Store.open("nothing://bucket/x")


def test_a_home_folder_is_expanded():
    assert Store.open("~").root == os.path.realpath(os.path.expanduser("~"))


def test_a_full_disk_leaves_what_was_there_and_no_litter(small_disk):
    store = Store.open(str(small_disk))
    store.write_text("a/note", "before")
    with pytest.raises(OSError, match="No space left"):
        store.write_text("a/note", "x" * (1 << 20))
    with pytest.raises(OSError, match="No space left"):
        store.write_table(
            "a/table.parquet", pa.table({"x": np.random.default_rng(0).random(10**5)})
        )
    assert os.listdir(f"{store.root}/a") == ["note"]
    assert store.read_text("a/note") == "before"


def test_parts_of_many_writers_stand_side_by_side(tmp_path):
    store, row = Store.open(str(tmp_path)), pa.table({"n": [1]})
    names = [store.add_part("a/parts", row, prefix) for prefix in ("", "", "run-", "run-")]
    assert store.files("a/parts") == sorted(set(names))
    assert len(set(names)) == 4
    assert [name for name in names if name.startswith("run-")] == names[2:]
    assert all(store.read_table(f"a/parts/{name}") == row for name in names)


def test_a_store_that_is_only_looked_at_is_not_made(tmp_path):
    store = Store.at(str(tmp_path / "store"))
    assert not store.exists("runs")
    assert store.files("runs") == []
    assert list(tmp_path.iterdir()) == []
    assert Store.open(str(tmp_path / "store")) == store
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
