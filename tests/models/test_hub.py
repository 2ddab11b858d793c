"""The hub is given up at once where nothing answers."""

import json
import os
import socket
import subprocess
import sys

import pytest

from kpod_ray.models.hub import unreachable_hub

PROGRAM = """
import json, logging, sys
logging.basicConfig(stream=sys.stdout)
from kpod_ray.models.hub import unreachable_hub
address = unreachable_hub()
from kpod_ray.errors import KpodError
from kpod_ray.models.check import check_model
from kpod_ray.models.folder_check import ModelUse
try:
    check_model("nobody/nothing", ModelUse("student"))
except KpodError as error:
    print(json.dumps([address, str(error)]))
"""
PROXIES = {name for name in os.environ if name.lower().endswith("_proxy")}


@pytest.fixture
def no_settings(monkeypatch):
    for name in (*PROXIES, "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def port():
    """A port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    return free


def test_a_hub_that_answers_is_used(no_settings, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert unreachable_hub() is None
    assert "HF_HUB_OFFLINE" not in os.environ


def test_a_hub_that_does_not_answer_is_named_and_left_alone(no_settings, monkeypatch, port):
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "")  # to be restored
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert unreachable_hub() == f"http://127.0.0.1:{port}"
    assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "HTTPS_PROXY"])
def test_nothing_is_tried_where_the_user_has_said_how(no_settings, monkeypatch, port, name):
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    before = dict(os.environ)
    assert unreachable_hub() is None
    assert dict(os.environ) == before


@pytest.mark.slow
def test_the_library_then_tries_nothing_and_warns_of_nothing(no_settings, port):
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "PYTHONPATH": os.getcwd(),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    (line,) = done.stdout.splitlines()
    address, message = json.loads(line)
    assert address == f"http://127.0.0.1:{port}"
    assert "neither a folder here nor to be had from the hub" in message
    assert not done.stderr
