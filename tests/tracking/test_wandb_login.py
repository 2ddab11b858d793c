"""Whether W&B is there, known without waiting."""

import contextlib
import time

import pytest

from kpod_ray.tracking.wandb_login import SignsOfLife
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
