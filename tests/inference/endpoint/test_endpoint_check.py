"""What is wrong with an endpoint is said before the first question; its key is never shown."""

import asyncio
import logging
import pickle
import socket
import traceback

import pytest
from pydantic import SecretStr

from kpod_ray.errors import KpodError
from kpod_ray.inference.endpoint.openai_client import Endpoint
from tests.inference.endpoint.asked import KEY, asked, teacher
from tests.inference.endpoint_server import EndpointServer

ECHOES = {
    "refused": (400, {}, {"error": {"message": f"what is Bearer {KEY}?"}}),
    "at the cut": (400, {}, b"x" * 480 + KEY.encode() + b"x" * 100),
    "busy": (500, {}, f"Authorization: Bearer {KEY}".encode()),
    "not JSON": (200, {}, f"Authorization: Bearer {KEY}".encode()),
    "no such model": (404, {}, {"error": f"Bearer {KEY}"}),
    "sent on": (301, {"Location": f"https://here/{KEY}"}, b""),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_a_server_that_repeats_the_key_cannot_make_it_known(echo, caplog):
    caplog.set_level(logging.DEBUG)
    with EndpointServer(lambda number, body: ECHOES[echo]) as server:
        try:
            shown = asked(server, key=f" {KEY}\n")[0].text
        except KpodError as error:
            shown = "".join(traceback.format_exception(error))
    assert {seen["headers"]["Authorization"] for seen in server.seen} == {f"Bearer {KEY}"}
    assert KEY[:8] not in shown
    if echo != "sent on":  # httpcore logs the server's headers, on the level DEBUG
        assert KEY[:8] not in caplog.text


@pytest.mark.parametrize("key", [f"{KEY}\N{HORIZONTAL ELLIPSIS}", f"{KEY}\r\nX-Other: 1"])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(key):
    with pytest.raises(KpodError, match="environment variable OPENAI_API_KEY") as caught:
        Endpoint(teacher("http://localhost/v1"), (), SecretStr(key))
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_check_passes_where_something_answers_and_says_what_is_wrong_elsewhere():
    def checked(url, key=KEY):
        asyncio.run(Endpoint(teacher(url), (), SecretStr(key)).check())

    for status in (200, 404, 500):
        with EndpointServer(lambda number, body, s=status: (s, {}, {})) as server:
            checked(server.url)
        assert server.seen[0]["path"] == "/v1/models"
    with (
        EndpointServer(lambda number, body: (401, {}, {})) as server,
        pytest.raises(KpodError, match="refuses the key in OPENAI_API_KEY"),
    ):
        checked(server.url)
    with (
        EndpointServer(lambda number, body: (308, {"Location": "http://there/v1"}, {})) as server,
        pytest.raises(KpodError, match="to the address of the redirect: http://there/v1"),
    ):
        checked(server.url)
    for url in (server.url, "http://no-such-host.invalid/v1"):
        with pytest.raises(KpodError, match="nothing answers there") as caught:
            checked(url)  # the server is closed by now
        assert KEY not in str(caught.value)


def test_check_gives_up_a_server_that_takes_the_connection_and_says_nothing():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(KpodError, match=r"no answer within 0\.5 s"):
            asyncio.run(Endpoint(teacher(url), (), SecretStr(KEY)).check(patience_s=0.5))


def test_an_endpoint_can_be_sent_to_another_process_before_its_first_request():
    endpoint = pickle.loads(pickle.dumps(Endpoint(teacher("http://here/v1"), (), SecretStr(KEY))))
    assert endpoint.headers == {"Authorization": f"Bearer {KEY}"}
    assert KEY not in repr(endpoint)
