"""No value of a Parquet file is unpickled, also in a process that has imported Ray Data."""

import os
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kpod_ray.errors import KpodError
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.plain_tables import check_plain
from kpod_ray.storage.store import Store
from kpod_ray.storage.user_files import read_rows


class Writes:
    """An object whose pickle writes a file when it is read."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


def poisoned(folder):
    """Return a table with a pickle that writes ``folder/was here``, as Ray Data stores objects."""
    from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType

    storage = pa.array([pickle.dumps(Writes(folder / "was-here"))], pa.large_binary())
    column = pa.ExtensionArray.from_storage(ArrowPythonObjectType(), storage)
    return pa.table({"id": ["a"], "question": column})


def test_pickled_objects_in_a_table_are_refused_unread(tmp_path):
    table = poisoned(tmp_path)
    pq.write_table(table, tmp_path / "q.parquet")
    store = Store.open(str(tmp_path))
    artifact = Artifact.of(store, "questions", 1, {}, [])
    artifact.write("questions", table)
    reads = [
        lambda: store.read_table("q.parquet").to_pylist(),
        lambda: artifact.read("questions").to_pylist(),
        lambda: [batch.to_pylist() for batch in artifact.batches("questions", 10)],
        lambda: list(read_rows(str(tmp_path / "q.parquet"))),
    ]
    for read in reads:
        with pytest.raises(
            KpodError,
            match=r"parquet: column question has the type 'ray.data.arrow_pickled_object', whose",
        ):
            read()
    assert not (tmp_path / "was-here").exists()
    assert store.read_table("q.parquet", ["id"]).to_pylist() == [{"id": "a"}]
    pq.read_table(tmp_path / "q.parquet").to_pylist()
    assert (tmp_path / "was-here").exists()  # without the check, the pickle runs


def test_a_foreign_type_is_found_wherever_it_is_nested(tmp_path):
    foreign = poisoned(tmp_path).schema.field("question").type
    nested = [
        pa.list_(foreign),
        pa.struct({"a": pa.int8(), "b": pa.list_(foreign)}),
        pa.map_(pa.string(), foreign),
    ]
    for kind in nested:
        with pytest.raises(KpodError, match="column x"):
            check_plain(pa.schema({"plain": pa.string(), "x": kind}), "file")
    plain = {"a": pa.list_(pa.struct({"b": pa.dictionary(pa.int8(), pa.string())})), "u": pa.uuid()}
    check_plain(pa.schema(plain), "file")
