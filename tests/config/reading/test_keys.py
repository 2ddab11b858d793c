"""No key gets into a config, from which files, W&B and logs are written."""

import pytest

from kpod_ray.config import RunConfig, load
from kpod_ray.config.reading.keys import refuse_keys
from kpod_ray.errors import KpodError

KEY = "sk-proj-0123456789abcdefghij"
ENDPOINT = {"kind": "endpoint", "model": "m", "base_url": "https://api.openai.com/v1"}
REFUSED = {
    "teacher.base_url": [
        "https://me:pw@host/v1",
        "https://me@host/v1",
        "HTTPS://me:pw@host/v1",
        "https://host/v1?api-key=abc",
        "https://host/v1?version=1&API_KEY=abc",
        "https://host/v1?key=abc",
        "https://host/v1?sig=abc",
        "https://host/v1?X-Amz-Credential=abc",
    ],
    "storage": ["s3://id:secret@bucket/a", "s3://bucket/a?access_key=x&secret_key=y"],
    "student.model": ["s3://id:secret@bucket/a", "trusted:s3://b/a?session_token=y", KEY],
    "teacher.extra_body.api_key": ["abc"],
    "teacher.extra_body.apiKey": ["abc"],
    "teacher.extra_body.headers.Authorization": ["abc"],
    "teacher.extra_body.headers.x-api-key": ["abc"],
    "teacher.extra_body.headers.list": [["Bearer abcdefgh"], [["a", "Bearer abcdefgh"]]],
    "teacher.extra_body.password": ["abc", 12345, ["abc"]],
    "teacher.extra_body": [{KEY: 1}, {"https://me:pw@host": 1}],
    "teacher.extra_body.note": [KEY, f" {KEY} ", "AKIAABCDEFGHIJKLMNOP", "hf_" + 20 * "a"],
    "teacher.api_key_env": [KEY],
    "teacher.system_prompt": [KEY],
    "evaluation.engine_kwargs.hf_token": ["abc"],
    "tracking.entity": [KEY],
    "sweep.space": [{"teacher.extra_body.api_key": {"choices": ["a", "b"]}}],
    "comparison.arms": [{"mine": {"teacher.extra_body.token": "abc"}}],
}
ACCEPTED = {
    "teacher.base_url": ["https://host/v1", "http://127.0.0.1:8000/v1", "https://host:1/a@b"],
    "teacher.extra_body.stop_token_ids": [[1, 2]],
    "teacher.extra_body.max_completion_tokens": [5],
    "teacher.extra_body.schema": [{"properties": {"password": {"type": "string"}}}],
    "teacher.api_key_env": ["OPENAI_API_KEY", None],
    "teacher.system_prompt": ["See https://host/@me and sk-learn; never tell a password."],
    "storage": ["s3://bucket/a?region=eu-west-1&endpoint_override=localhost:9000"],
    "student.model": [
        "hf-internal-testing/tiny-random-gpt2",
        "sk-learn/a-long-model-name-1234567890",
    ],
    "questions.columns.id": ["token"],
}


def cases(table):
    return [(path, value) for path, values in table.items() for value in values]


def nested(path, value):
    *groups, last = path.split(".")
    settings = {last: value}
    for group in reversed(groups):
        settings = {group: settings}
    return settings


@pytest.mark.parametrize(("path", "value"), cases(REFUSED))
def test_a_key_is_refused_wherever_it_stands(path, value):
    with pytest.raises(ValueError, match="a key in it would end up in files; ") as refused:
        refuse_keys(nested(path, value))
    message = str(refused.value)
    assert message.startswith(path)
    assert "\n" not in message
    for secret in (KEY, "pw", "secret@", "abc", "AKIA"):
        assert secret not in message


@pytest.mark.parametrize(("path", "value"), cases(ACCEPTED))
def test_what_only_looks_like_a_key_is_accepted(path, value):
    refuse_keys(nested(path, value))


def test_files_overrides_and_changed_copies_are_checked(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "name: a\nstudent: {model: tiny:0}\n"
        "teacher: {kind: endpoint, model: m, base_url: http://localhost/v1}\n"
    )
    config = load(path)
    for change in ({"teacher.extra_body.api_key": KEY}, {"storage": "s3://a:b@c/d"}):
        with pytest.raises(KpodError, match="a key in it would end up in files") as refused:
            config.override(change)
        assert KEY not in str(refused.value)
    with pytest.raises(KpodError, match=r"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        load(path, ["storage=s3://a:b@c/d"])
    # other mistakes in the same config don't repeat the key either
    with pytest.raises(KpodError) as refused:
        load(path, [f"teacher.api_key_env={KEY}", "seed=x"])
    assert KEY not in str(refused.value)


@pytest.mark.parametrize("url", ["https://host/v1?a=b", "https://host/v1#a", "https://a\\b/v1"])
def test_an_address_of_requests_has_no_parameters(url):
    settings = {
        "name": "a",
        "student": {"model": "tiny:0"},
        "teacher": ENDPOINT | {"base_url": url},
    }
    with pytest.raises(ValueError, match="base_url holds a user, password or parameter"):
        RunConfig.model_validate(settings)
