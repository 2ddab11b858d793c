"""Only what is missing is generated, whatever batches it is asked for in."""

import functools

import pytest

from kpod_ray.config import ActorResources
from kpod_ray.inference.completions import CompletionIndex
from kpod_ray.inference.missing import generate_missing
from kpod_ray.inference.records import Completion, GenerationRequest
from kpod_ray.inference.service import ServicePool
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store
from tests.inference.scripted import Scripted, marked

FOLDER = "completions/x"
REQUESTS = [GenerationRequest(f"{i:024x}", f"text {i}", i) for i in range(10)]


@pytest.fixture
def artifact(tmp_path):
    return Artifact.of(Store.open(str(tmp_path / "store")), "teacher", 1, {}, [])


def there(store, rows, finish_reason="stop"):
    """Write completions as an earlier run would have."""
    done = [Completion(r.id, f"early {r.id}", finish_reason, 1) for r in rows]
    store.add_part(FOLDER, Completion.to_table(done))


def test_what_is_there_is_kept_and_the_rest_and_errors_are_generated(
    ray_cluster, artifact, tmp_path
):
    there(artifact.store, REQUESTS[:4])
    there(artifact.store, REQUESTS[4:6], "error")
    index, marks, sizes, told = CompletionIndex(artifact.store, FOLDER), tmp_path / "m", [], []

    def start_pool(num_requests, num_chars):
        sizes.append((num_requests, num_chars))
        start = functools.partial(Scripted, marks)
        return ServicePool(start, ActorResources(rows_per_block=4), 16)

    batches = iter([REQUESTS[:3], [], REQUESTS[3:]])
    made = generate_missing(batches, index, artifact, start_pool, lambda *rows: told.append(rows))
    assert (made.num_rows, len(made.nodes)) == (6, 1)
    assert sizes == [(6, sum(len(request.text) for request in REQUESTS[4:]))]
    assert sorted(marked(marks)) == [request.id for request in REQUESTS[4:]]
    found = [row.text for row in index.find([request.id for request in REQUESTS])]
    assert found[:4] == [f"early {request.id}" for request in REQUESTS[:4]]
    assert found[4:] == [request.text[::-1] for request in REQUESTS[4:]]
    assert told[-1] == (10, 10)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[0][0] > 4
    assert not artifact.store.exists(f"{artifact.folder}/pending")


def test_nothing_is_started_when_nothing_is_missing(artifact):
    there(artifact.store, REQUESTS)
    index = CompletionIndex(artifact.store, FOLDER)

    def fails(*told):
        raise AssertionError(told)

    for batches in ([REQUESTS], [], [[]]):
        made = generate_missing(batches, index, artifact, fails, fails)
        assert (made.num_rows, made.nodes) == (0, frozenset())
