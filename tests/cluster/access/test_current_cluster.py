import os
import socket

import pytest

from kpod_ray.cluster.access.current_cluster import running_address
from kpod_ray.errors import KpodError

OTHER_USER = 65534


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def written(file, text, mode=0o644):
    file.write_text(text)
    file.chmod(mode)
    return file


def test_a_cluster_that_listens_is_joined(tmp_path, server):
    assert running_address(written(tmp_path / "current", f"{server}\n")) == server


def test_the_address_of_a_dead_cluster_is_passed_over(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert running_address(written(tmp_path / "current", f"127.0.0.1:{port}")) == "local"


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "host:port", "127.0.0.1:99999999999", "127.0.0.1:-1", "\0:1", "a" * 999],
)
def test_a_file_without_an_address_is_passed_over(tmp_path, text):
    assert running_address(written(tmp_path / "current", text)) == "local"


def test_bytes_that_are_no_text_are_passed_over(tmp_path):
    (tmp_path / "current").write_bytes(b"\xff\xfe:80")
    assert running_address(tmp_path / "current") == "local"


def test_without_a_file_ray_is_started_here(tmp_path):
    assert running_address(tmp_path / "nothing") == "local"


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_the_file_of_another_user_is_passed_over(tmp_path, server):
    file = written(tmp_path / "current", server)
    os.chown(file, OTHER_USER, OTHER_USER)
    assert running_address(file) == "local"


@pytest.mark.skipif(os.geteuid() != 0, reason="to listen as another user needs root")
def test_a_port_that_another_user_has_taken_is_passed_over(tmp_path):
    os.seteuid(OTHER_USER)
    try:
        server = socket.create_server(("127.0.0.1", 0))
    finally:
        os.seteuid(0)
    with server:
        port = server.getsockname()[1]
        assert running_address(written(tmp_path / "current", f"127.0.0.1:{port}")) == "local"


def test_a_link_is_passed_over(tmp_path, server):
    (tmp_path / "link").symlink_to(written(tmp_path / "current", server))
    assert running_address(tmp_path / "link") == "local"


def test_what_is_no_file_is_passed_over_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert running_address(tmp_path / "pipe") == "local"
    assert running_address(tmp_path) == "local"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_may_write_is_refused(tmp_path, server, mode):
    with pytest.raises(KpodError, match="chmod go-w"):
        running_address(written(tmp_path / "current", server, mode))
