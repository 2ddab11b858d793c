import pyarrow as pa
import pytest
import ray

from kpod_ray.cluster.actor_pool import ActorPool, discard_stream, stream_rows
from kpod_ray.cluster.placement import described
from kpod_ray.config import ActorResources
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store

REQUESTS = pa.table({"id": [f"q{i:02d}" for i in range(20)], "n": list(range(20))})


@pytest.fixture
def artifact(tmp_path):
    return Artifact.of(Store.open(str(tmp_path)), "teacher", 1, {}, [])


def squares(marks):
    """A pool whose actor leaves a mark for every row it is given."""

    class Squares:
        def __init__(self, marks):
            self.marks = marks

        def __call__(self, batch):
            for row_id in batch["id"].to_pylist():
                with open(f"{self.marks}/{row_id}", "a") as file:
                    file.write("x")
            numbers = [n * n for n in batch["n"].to_pylist()]
            return pa.table({"id": batch["id"], "square": numbers})

    resources = ActorResources(num_actors=2, num_cpus=1, rows_per_block=4)
    return ActorPool(Squares, {"marks": str(marks)}, resources, 2, batch_format="pyarrow")


def test_every_row_comes_back_once_in_the_order_of_the_requests(ray_cluster, artifact, tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    shuffled = REQUESTS.take([7, 3, *range(3), *range(4, 7), *range(8, 20)])
    result = stream_rows(artifact, "s", shuffled, squares(marks), "id")
    assert result.table["id"].to_pylist() == shuffled["id"].to_pylist()
    assert result.table["square"].to_pylist() == [n * n for n in shuffled["n"].to_pylist()]
    assert result.num_resumed == 0
    assert result.table.column_names == ["id", "square"]
    (node,) = described(result.nodes)
    assert node == {"id": ray.get_runtime_context().get_node_id(), "labels": {}}
    assert all(file.read_text() == "x" for file in marks.iterdir())
    discard_stream(artifact, "s")
    assert artifact.store.files(artifact.folder) == []


def test_a_second_call_does_only_what_is_missing(ray_cluster, artifact, tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    done = pa.table({"id": REQUESTS["id"][:6], "square": [n * n for n in range(6)]})
    artifact.write("s.parts/a", done)
    artifact.write("s.parts/b", done.slice(2, 2))  # a block whose writer died after the write
    whole = artifact.store.root + f"/{artifact.folder}/s.parts/a.parquet"
    with open(whole, "rb") as file:
        cut = file.read()[:-20]
    with open(whole.replace("a.parquet", "c.parquet"), "wb") as file:
        file.write(cut)
    result = stream_rows(artifact, "s", REQUESTS, squares(marks), "id")
    assert result.num_resumed == 6
    assert result.nodes == {ray.get_runtime_context().get_node_id()}
    assert result.table["square"].to_pylist() == [n * n for n in range(20)]
    assert sorted(file.name for file in marks.iterdir()) == REQUESTS["id"].to_pylist()[6:]


def test_rows_that_do_not_come_back_are_an_error(ray_cluster, artifact):
    class Loses:
        def __call__(self, batch):
            return batch.slice(1)

    pool = ActorPool(Loses, {}, ActorResources(rows_per_block=10), 10, batch_format="pyarrow")
    with pytest.raises(RuntimeError, match="20 rows asked for, 18 came back"):
        stream_rows(artifact, "s", REQUESTS, pool, "id")


def test_a_failure_keeps_the_batches_before_it(ray_cluster, artifact, tmp_path):
    class Fails:
        def __call__(self, batch):
            if "q13" in batch["id"].to_pylist():
                raise ValueError("bad row")
            return pa.table({"id": batch["id"], "square": [n * n for n in batch["n"].to_pylist()]})

    resources = ActorResources(num_actors=1, num_cpus=1, rows_per_block=4)
    pool = ActorPool(Fails, {}, resources, 2, batch_format="pyarrow")
    with pytest.raises(ray.exceptions.RayError, match="bad row"):
        stream_rows(artifact, "s", REQUESTS, pool, "id")
    marks = tmp_path / "marks"
    marks.mkdir()
    result = stream_rows(artifact, "s", REQUESTS, squares(marks), "id")
    assert result.num_resumed == 12, "one actor takes the blocks in order"
    assert result.table["square"].to_pylist() == [n * n for n in range(20)]
    assert sorted(file.name for file in marks.iterdir()) == REQUESTS["id"].to_pylist()[12:]
