import pytest

from kpod_ray.inference.records import GenerationRequest
from kpod_ray.inference.requests import Pending, read_requests
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store


@pytest.fixture
def artifact(tmp_path):
    return Artifact.of(Store.open(str(tmp_path)), "teacher", 1, {}, [])


def requests(start, end):
    return [GenerationRequest(f"id{i}", "x" * i, i) for i in range(start, end)]


def test_the_blocks_hold_every_request_once_and_in_order(artifact):
    pending = Pending(artifact)
    for part in (requests(0, 5), [], requests(5, 12), requests(12, 13)):
        pending.add(part)
    blocks = list(pending.blocks(3))
    assert [block.end - block.start for block in blocks] == [3, 2, 3, 3, 1, 1]
    rows = [row for b in blocks for row in read_requests(artifact.store, b.path)[b.start : b.end]]
    assert rows == requests(0, 13)
    assert (pending.num_rows, pending.num_chars) == (13, sum(range(13)))


def test_what_a_killed_run_left_is_thrown_away(artifact):
    Pending(artifact).add(requests(0, 4))
    pending = Pending(artifact)
    assert list(pending.blocks(2)) == []
    pending.add(requests(4, 6))
    assert len(artifact.store.files(f"{artifact.folder}/pending")) == 1
    pending.discard()
    assert artifact.store.files(f"{artifact.folder}/pending") == []
