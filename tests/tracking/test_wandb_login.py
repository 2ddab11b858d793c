"""Whether W&B is there, known without waiting."""

import contextlib
import time

import pytest

from kpod_ray.cli.doctor import machine
from kpod_ray.errors import KpodError
from kpod_ray.tracking.wandb_login import SignsOfLife, answers, base_url, has_wandb_login
from kpod_ray.tracking.wandb_upload import send
from kpod_ray.tracking.wandb_workspace import save_dashboard
from tests.tracking.trackers import config
from tests.tracking.wandb_server import WandbServer, hanging_server, refusing_server

SILENT_SECONDS = 1.0


@contextlib.contextmanager
def signs_of(url):
    signs = SignsOfLife(url, ask_seconds=0.05, silent_seconds=SILENT_SECONDS)
    try:
        yield signs
    finally:
        signs.stop()


def test_a_server_is_there_as_long_as_it_answers():
    with WandbServer() as server, signs_of(server.url) as signs:
        time.sleep(2 * SILENT_SECONDS)
        assert signs.is_there()
        server.http.shutdown()
        server.http.server_close()
        time.sleep(2 * SILENT_SECONDS)
        assert not signs.is_there()


@pytest.mark.parametrize("dead", [refusing_server, hanging_server])
def test_a_dead_server_is_gone_soon_and_nobody_waits_for_it(dead):
    with dead() as url, signs_of(url) as signs:
        assert signs.is_there()
        time.sleep(1.5 * SILENT_SECONDS)
        started = time.monotonic()
        assert not signs.is_there()
        assert time.monotonic() - started < 0.1


@pytest.fixture
def malformed_key(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example")
    (tmp_path / "netrc").write_text("machine wandb.example login user password not-a-key\n")


@pytest.mark.usefixtures("malformed_key")
def test_a_malformed_key_is_one_line_without_the_key(tmp_path):
    folder = tmp_path / "wandb" / "run"
    folder.mkdir(parents=True)
    (folder / "a.wandb").touch()
    for command in (
        has_wandb_login,
        lambda: send(tmp_path),
        lambda: save_dashboard(config("auto")),
    ):
        with pytest.raises(
            KpodError, match="the W&B key in the netrc file is malformed"
        ) as refused:
            command()
        assert "not-a-key" not in str(refused.value)
    (finding,) = [found for found in machine() if found.subject == "W&B"]
    assert "runs stay offline: the W&B key in the netrc file is malformed" in finding.text


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:port", "http://[::1", "no scheme", "", "http://a\n.b", "http://\x00"]
)
def test_a_malformed_address_does_not_answer(url):
    assert not answers(url)


def test_a_slash_at_the_end_of_the_address_is_no_part_of_it(monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example//")
    assert base_url() == "https://wandb.example"


@pytest.mark.parametrize("url", ["https://me:pw@wandb.example", "https://wandb.example?api_key=pw"])
def test_an_address_with_a_key_is_refused_without_repeating_it(monkeypatch, url):
    monkeypatch.setenv("WANDB_BASE_URL", url)
    with pytest.raises(
        KpodError, match="WANDB_BASE_URL holds a user, password or parameter"
    ) as refused:
        base_url()
    assert "pw" not in str(refused.value)


def test_a_login_is_a_key_in_the_environment_or_in_the_netrc_of_the_server(
    monkeypatch, tmp_path, key
):
    assert has_wandb_login()
    monkeypatch.delenv("WANDB_API_KEY")
    assert not has_wandb_login()
    (tmp_path / "netrc").write_text(f"machine wandb.example login user password {key}\n")
    monkeypatch.setenv("WANDB_BASE_URL", "https://other.example")
    assert not has_wandb_login()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example")
    assert has_wandb_login()
