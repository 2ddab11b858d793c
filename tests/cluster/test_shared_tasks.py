from pathlib import Path

import pytest
import ray

from kpod_ray.cluster.tasks import SharedTaskRunner


def make(folder, name):
    """Note that it was made; the first making of a ``fragile`` one fails."""
    file = Path(folder, name)
    with file.open("a") as stream:
        stream.write("made\n")
    if name == "fragile" and file.read_text() == "made\n":
        raise ValueError("broken")


@pytest.fixture
def shared_tasks(ray_cluster):
    actor = ray.remote(SharedTaskRunner).options(num_cpus=0).remote(make)
    yield actor
    ray.kill(actor)


def test_what_several_ask_for_at_the_same_moment_is_made_once(shared_tasks, tmp_path):
    asked = [
        shared_tasks.make.remote(f"folder {i % 2}", str(tmp_path), str(i % 2)) for i in range(6)
    ]
    ray.get(asked)
    assert [(tmp_path / str(i)).read_text() for i in range(2)] == ["made\n"] * 2


def test_what_failed_is_told_and_tried_again(shared_tasks, tmp_path):
    with pytest.raises(ValueError, match="broken"):
        ray.get(shared_tasks.make.remote("folder", str(tmp_path), "fragile"))
    ray.get(shared_tasks.make.remote("folder", str(tmp_path), "fragile"))
    assert (tmp_path / "fragile").read_text() == "made\nmade\n"


def test_a_folder_belongs_to_the_first_that_claims_it(shared_tasks):
    claims = [("a", "first"), ("a", "second"), ("b", "second"), ("a", "first")]
    answers = [ray.get(shared_tasks.claim.remote(*claim)) for claim in claims]
    assert answers == ["first", "first", "second", "first"]
