"""W&B's places and keys of a test: none of this machine's own are read or written."""

import pytest

from kpod_ray.storage.store import Store
from tests.tracking.wandb_server import FAKE_KEY, WandbServer


@pytest.fixture(autouse=True)
def no_login(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE", "WANDB_ENTITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", "")
    monkeypatch.delenv("WANDB_DATA_DIR")  # a run sets it; afterwards it is as it was
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "")
    monkeypatch.delenv("WANDB_ERROR_REPORTING")  # likewise


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", FAKE_KEY)
    return FAKE_KEY


@pytest.fixture
def server(monkeypatch):
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server


@pytest.fixture
def store(tmp_path):
    return Store.open(str(tmp_path / "store"))
