"""Keys go only to the servers that they belong to, and never in clear text."""

import asyncio

import pytest

from kpod_ray.config import EndpointTeacher
from kpod_ray.errors import KpodError
from kpod_ray.inference.endpoint.key import ALLOWED, endpoint_key, is_loopback
from kpod_ray.inference.endpoint.openai_client import Endpoint
from kpod_ray.inference.records import GenerationRequest
from kpod_ray.teacher.kinds import check
from tests.inference.endpoint_server import EndpointServer, answer

SECRETS = {
    "OPENAI_API_KEY": "key-of-openai",
    "WANDB_API_KEY": "key-of-wandb",
    "MY_API_KEY": "key/of mine",
    "AWS_SECRET_ACCESS_KEY": "secret-of-aws",
}


@pytest.fixture(autouse=True)
def secrets(monkeypatch):
    monkeypatch.delenv(ALLOWED, raising=False)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def teacher(url, variable=None, **settings):
    return EndpointTeacher(
        kind="endpoint", model="m", base_url=url, api_key_env=variable, max_tries=1, **settings
    )


@pytest.mark.parametrize(
    ("url", "variable", "sent"),
    [
        ("https://api.openai.com/v1", None, "OPENAI_API_KEY"),
        ("https://api.openai.com/v1", "OPENAI_API_KEY", "OPENAI_API_KEY"),
        ("https://api.openai.com:8443/v1", None, "OPENAI_API_KEY"),
        ("http://localhost:8000/v1", None, "OPENAI_API_KEY"),
        ("http://127.9.9.9/v1", None, "OPENAI_API_KEY"),
        ("http://[::1]:8000/v1", None, "OPENAI_API_KEY"),
        ("http://localhost:8000/v1", "MY_API_KEY", "MY_API_KEY"),
        ("https://example.org/v1", "MY_API_KEY", "MY_API_KEY"),
        ("https://example.org/v1", "UNSET_API_KEY", None),
        ("http://example.org/v1", "UNSET_API_KEY", None),
        # a config that somebody sends
        ("https://example.org/v1", None, None),
        ("http://example.org/v1", None, None),
        ("https://api.openai.com.example.org/v1", None, None),
        ("https://example.org/api.openai.com/v1", None, None),
        ("https://notapi.openai.com/v1", None, None),
        ("http://127.0.0.1.example.org/v1", None, None),
        ("http://localhost.example.org/v1", None, None),
        ("http://0.0.0.0/v1", None, None),
        ("http://10.0.0.5/v1", None, None),
        ("http://2130706433/v1", None, None),
    ],
)
def test_a_key_goes_to_its_own_server_or_to_none(url, variable, sent):
    key = endpoint_key(teacher(url, variable)).get_secret_value()
    assert key == SECRETS.get(sent or "", "")


@pytest.mark.parametrize(
    ("url", "variable", "message"),
    [
        ("https://example.org/v1", "AWS_SECRET_ACCESS_KEY", "doesn't end in _API_KEY"),
        ("http://localhost/v1", "AWS_SECRET_ACCESS_KEY", "doesn't end in _API_KEY"),
        ("https://example.org/v1", "PATH", "doesn't end in _API_KEY"),
        (
            "https://example.org/v1",
            "OPENAI_API_KEY",
            "is the key of api.openai.com, not of example",
        ),
        ("https://example.org/v1", "WANDB_API_KEY", "is the key of api.wandb.ai"),
        ("http://api.openai.com/v1", None, "unencrypted; use https"),
        ("http://example.org/v1", "MY_API_KEY", "unencrypted; use https"),
        ("http://127.0.0.1.example.org/v1", "MY_API_KEY", "unencrypted; use https"),
        ("http://0.0.0.0/v1", "MY_API_KEY", "unencrypted; use https"),
        ("http://10.0.0.5:8000/v1", "MY_API_KEY", "unencrypted; use https"),
        ("https://\uff41pi.openai.com/v1", None, "no address"),
    ],
)
def test_a_key_that_may_not_go_there_is_one_line(url, variable, message):
    with pytest.raises(KpodError, match=message) as refused:
        check(teacher(url, variable))
    assert "\n" not in str(refused.value)
    assert not any(secret in str(refused.value) for secret in SECRETS.values())


def test_the_users_own_environment_allows_a_variable(monkeypatch):
    monkeypatch.setenv(ALLOWED, "OTHER, AWS_SECRET_ACCESS_KEY OPENAI_API_KEY")
    for name in ("AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY"):
        key = endpoint_key(teacher("https://example.org/v1", name))
        assert key.get_secret_value() == SECRETS[name]
        with pytest.raises(KpodError, match="unencrypted"):
            endpoint_key(teacher("http://example.org/v1", name))
    with pytest.raises(KpodError, match="doesn't end in _API_KEY"):
        endpoint_key(teacher("https://example.org/v1", "OTHE"))


def test_loopback_is_this_machine_alone():
    for host in ("localhost", "127.0.0.1", "127.255.0.1", "::1"):
        assert is_loopback(host)
    for host in ("", "localhost.", "0.0.0.0", "::", "128.0.0.1", "127.0.0.1.org", "127.1"):
        assert not is_loopback(host)


def ask(chosen):
    async def one():
        service = Endpoint(chosen, (), endpoint_key(chosen))
        try:
            return await service.generate(GenerationRequest("id", "1 + 1?", 0))
        finally:
            await service.close()

    return asyncio.run(one())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_takes_neither_the_key_nor_the_question_along(status):
    with EndpointServer(lambda *_: (200, {}, answer())) as other:
        target = {"Location": f"{other.url}/chat/completions"}
        with EndpointServer(lambda *_: (status, target, {})) as server:
            chosen = teacher(server.url, "MY_API_KEY")
            with pytest.raises(KpodError, match="the address of the redirect"):
                ask(chosen)
            with pytest.raises(KpodError, match="the address of the redirect"):
                asyncio.run(Endpoint(chosen, (), endpoint_key(chosen)).check())
        assert other.seen == []


def test_a_key_that_a_server_repeats_is_masked_in_texts_and_messages():
    key = SECRETS["MY_API_KEY"]
    forms = [key, key.replace("/", "\\/"), "key%2Fof%20mine"]
    with EndpointServer(lambda *_: (200, {}, answer(" ".join(forms)))) as server:
        assert ask(teacher(server.url, "MY_API_KEY")).text == "*** *** ***"
    bodies = [
        {"error": {"message": f"bad key {key}\x1b[31m"}},
        f"<p>{forms[1]} {forms[2]}".encode(),
    ]
    for body in bodies:
        with EndpointServer(lambda *_, body=body: (400, {}, body)) as server:
            completion = ask(teacher(server.url, "MY_API_KEY"))
        assert completion.finish_reason == "error"
        assert "***" in completion.text
        assert not any(form in completion.text for form in forms)


def test_a_proxy_of_the_environment_gets_no_key_of_a_server_on_this_machine(monkeypatch):
    with EndpointServer(lambda *_: (200, {}, answer())) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        with EndpointServer(lambda *_: (200, {}, answer())) as server:
            assert (
                ask(teacher(server.url, "MY_API_KEY")).text
                == answer()["choices"][0]["message"]["content"]
            )
        assert len(server.seen) == 1
        assert proxy.seen == []
