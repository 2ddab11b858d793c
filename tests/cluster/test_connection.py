import socket

import pytest

from kpod_ray.cluster.connection import running_address
from kpod_ray.cluster.placement import threads_of
from kpod_ray.config import ResourcesConfig, WorkerResources


def test_a_cluster_that_listens_is_joined(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "current").write_text(address)
        assert running_address(tmp_path / "current") == address


def test_the_address_of_a_dead_cluster_is_passed_over(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (tmp_path / "current").write_text(f"127.0.0.1:{port}")
    assert running_address(tmp_path / "current") == "local"


@pytest.mark.parametrize("text", ["", "nonsense", "host:port"])
def test_a_file_without_an_address_is_passed_over(tmp_path, text):
    (tmp_path / "current").write_text(text)
    assert running_address(tmp_path / "current") == "local"


def test_without_a_file_ray_is_started_here(tmp_path):
    assert running_address(tmp_path / "nothing") == "local"


def test_threads_are_what_is_set_or_a_share_of_the_cores():
    assert threads_of(WorkerResources(num_threads=3)) == 3
    assert threads_of(WorkerResources(num_workers=10_000)) == 1
    assert threads_of(ResourcesConfig().train) >= 1
