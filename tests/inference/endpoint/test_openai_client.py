import datetime
import email.utils
import random
import threading
import time

import pytest

from kpod_ray.errors import KpodError
from kpod_ray.inference.records import Completion
from tests.inference.endpoint.asked import KEY, asked
from tests.inference.endpoint_server import EndpointServer, answer


def test_a_chat_is_sent_whole_and_read_whole():
    settings = {"system_prompt": "Be brief.", "instruction": "Think.", "stop": ["##"], "top_p": 0.9}
    settings["extra_body"] = {"reasoning_effort": "low"}
    with EndpointServer(lambda number, body: (200, {}, answer())) as server:
        shots = [("question 0?", "no"), ("one?", "1"), ("two?", "2")]
        assert asked(server, shots=shots, **settings) == [
            Completion("r0", "It is 5.", "stop", 3, 7, None)
        ]
    (seen,) = server.seen
    assert seen["path"] == "/v1/chat/completions"
    assert seen["headers"]["Authorization"] == f"Bearer {KEY}"
    assert seen["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one?\nThink."},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "two?\nThink."},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "question 0?\nThink."},
    ]
    sent = {name: seen[name] for name in ("model", "max_tokens", "temperature", "top_p", "seed")}
    assert sent == {"model": "m", "max_tokens": 256, "temperature": 0.7, "top_p": 0.9, "seed": 0}
    assert (seen["stop"], seen["reasoning_effort"]) == (["##"], "low")


def test_a_plain_prompt_goes_to_completions_and_a_greedy_one_has_no_seed():
    reply = {"choices": [{"text": "5.", "finish_reason": "length"}]}
    with EndpointServer(lambda number, body: (200, {}, reply)) as server:
        completions = asked(server, key="", template="plain", temperature=0)
    assert completions == [Completion("r0", "5.", "length", 0, 0, None)]
    (seen,) = server.seen
    assert seen["path"] == "/v1/completions"
    assert seen["prompt"] == "Q: question 0?\nA:\n"
    assert seen["stop"] == ["\nQ:"]
    assert "seed" not in seen
    assert "Authorization" not in seen["headers"]


def test_reasoning_that_comes_apart_goes_before_the_content():
    message = {"reasoning_content": "2 + 3 = 5.", "content": "The answer is 5."}
    reply = {"choices": [{"message": message, "finish_reason": "stop"}]}
    with EndpointServer(lambda number, body: (200, {}, reply)) as server:
        assert asked(server)[0].text == "2 + 3 = 5.\nThe answer is 5."


BROKEN = {
    "busy": (429, {}, {"error": {"message": "slow down"}}),
    "broken": (500, {}, b"oops"),
    "cut": None,
    "not JSON": (200, {}, b"<html>"),
    "no choices": (200, {}, {"choices": []}),
    "no text": (200, {}, {"choices": [{"message": {"content": None}}]}),
    "no object": (200, {}, [1]),
    "deep": (200, {}, b"[" * 200_000),
    "null and no reasoning": (
        200,
        {},
        {"choices": [{"message": {"content": None, "reasoning": ""}}]},
    ),
    "broken off": (200, {}, {"choices": [{"text": "It is", "finish_reason": "error"}]}),
    "strange encoding": (503, {"Content-Type": "text/plain; charset=base64"}, b"oops"),
    "strange wait": (429, {"Retry-After": "inf"}, {}),
    "wait until a date without a zone": (429, {"Retry-After": "Wed Nov 25 06:54:39 2020"}, {}),
    "wait until a date of no zone": (429, {"Retry-After": "Wed, 25 Nov 2020 06:54:39 -0000"}, {}),
    "wait until an impossible date": (429, {"Retry-After": "Wed, 99 Nov 2020 06:54:39 GMT"}, {}),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_server_that_fails_twice_is_asked_three_times(fault):
    def script(number, body):
        return BROKEN[fault] if number < 2 else (200, {}, answer())

    with EndpointServer(script) as server:
        assert asked(server) == [Completion("r0", "It is 5.", "stop", 3, 7, None)]
    assert len(server.seen) == 3


@pytest.mark.parametrize("fault", BROKEN)
def test_a_server_that_fails_for_ever_gives_an_error_row_and_no_success(fault):
    with EndpointServer(lambda number, body: BROKEN[fault]) as server:
        (completion,) = asked(server)
    assert (completion.id, completion.finish_reason, completion.num_tokens) == ("r0", "error", 0)
    assert len(server.seen) == 3
    assert KEY not in completion.text
    if fault == "busy":
        assert completion.text == "HTTP 429: slow down"


def test_every_request_ends_in_one_completion_which_is_a_success_only_if_its_last_answer_was():
    rng, told = random.Random(0), {}
    kinds = {
        "good": lambda question: (200, {}, answer(f"{question} 5.")),
        "refused": lambda question: (422, {}, {"error": "no"}),
        "hurried": lambda question: (503, {"Retry-After": "0.01"}, b""),
        **{fault: lambda question, fault=fault: BROKEN[fault] for fault in BROKEN},
    }

    def script(number, body):
        question = body["messages"][-1]["content"]
        kind = rng.choice([*["good"] * 8, *kinds])
        told.setdefault(question, []).append(kind)
        return kinds[kind](question)

    with EndpointServer(script) as server:
        completions = asked(server, num=120, max_concurrent=8, max_wait_s=0.02, timeout_s=60)
    assert [completion.id for completion in completions] == [f"r{i}" for i in range(120)]
    assert sum(map(len, told.values())) == len(server.seen)
    for i, completion in enumerate(completions):
        question = f"question {i}?"
        *before, last = told[question]
        assert not {"good", "refused"} & set(before)
        if last == "good":
            assert completion == Completion(f"r{i}", f"{question} 5.", "stop", 3, 7, None)
        else:
            assert (completion.finish_reason, completion.num_tokens) == ("error", 0)
            assert last == "refused" or len(before) == 2
    assert {len(kinds) for kinds in told.values()} == {1, 2, 3}


@pytest.mark.parametrize("is_dripping", [False, True])
def test_a_slow_server_is_given_up_after_the_timeout_and_asked_again(is_dripping):
    asked_again = threading.Event()

    def drops():
        while True:
            yield b" "
            time.sleep(0.05)

    def script(number, body):
        if number == 0 and is_dripping:
            return 200, {}, drops()
        if number == 0:
            asked_again.wait(60)
        asked_again.set()
        return 200, {}, answer()

    with EndpointServer(script) as server:
        begun = time.monotonic()
        completions = asked(server, timeout_s=1, max_tries=20)
    assert completions == [Completion("r0", "It is 5.", "stop", 3, 7, None)]
    assert server.seen[1]["time"] - begun >= 1


def test_a_server_that_is_always_slow_gives_an_error_row_that_says_so():
    enough = threading.Event()
    with EndpointServer(lambda number, body: enough.wait(60) and None) as server:
        (completion,) = asked(server, timeout_s=0.3, max_tries=2)
        enough.set()
    assert completion == Completion("r0", "no answer within 0.3 s", "error", 0)


def test_a_request_the_server_refuses_is_an_error_row_at_once():
    reply = (400, {}, {"error": {"message": "prompt is\n too long", "code": "context"}})
    with EndpointServer(lambda number, body: reply) as server:
        (completion,) = asked(server)
    assert completion == Completion("r0", "HTTP 400: prompt is too long", "error", 0)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("status", "key", "told"),
    [
        (401, KEY, "answers 401; the server refuses the key in OPENAI_API_KEY"),
        (
            403,
            "",
            "answers 403; the server wants a key; set the environment variable OPENAI_API_KEY",
        ),
        (404, KEY, "answers 404; check teacher.base_url and teacher.model=m: no such model"),
        (
            308,
            KEY,
            "answers 308; set teacher.base_url to the address of the redirect: https://here/v1",
        ),
    ],
)
def test_what_no_request_can_survive_ends_the_run(status, key, told):
    headers = {"Location": "https://here/v1"} if status == 308 else {}
    reply = (status, headers, {"error": {"message": "no such model"}})
    with (
        EndpointServer(lambda number, body: reply) as server,
        pytest.raises(KpodError, match=told) as caught,
    ):
        asked(server, key=key)
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_obeyed_by_the_request_and_by_all_others(as_date):
    def script(number, body):
        if number == 0:
            when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
            told = email.utils.format_datetime(when, usegmt=True) if as_date else "1"
            return 429, {"Retry-After": told}, {"error": {"message": "wait"}}
        return 200, {}, answer()

    with EndpointServer(script) as server:
        completions = asked(server, num=3, max_concurrent=1, max_wait_s=0.1)
    assert [completion.finish_reason for completion in completions] == ["stop"] * 3
    first, *others = [seen["time"] for seen in server.seen]
    assert len(others) == 3
    assert min(others) - first >= 0.95


def test_no_more_requests_are_under_way_than_allowed_and_each_gets_its_own_answer():
    def script(number, body):
        time.sleep(0.02)
        return 200, {}, answer(body["messages"][-1]["content"])

    with EndpointServer(script) as server:
        completions = asked(server, num=40, max_concurrent=5)
    assert [completion.text for completion in completions] == [f"question {i}?" for i in range(40)]
    assert 2 <= server.most_inside <= 5


LOGPROBS = [
    ({"content": [{"logprob": -0.5}, {"logprob": -1.25}]}, -1.75),
    ({"token_logprobs": [-0.5, -1.0], "tokens": ["It", " is"]}, -1.5),
    ({"content": None}, None),
    ({"content": []}, None),
    ({"token_logprobs": [None, -1.0]}, None),
    ({"token_logprobs": [float("nan")]}, None),
    ("yes", None),
    (None, None),
]


@pytest.mark.parametrize(("told", "logprob"), LOGPROBS)
def test_the_logprob_is_the_sum_where_the_server_tells_that_of_every_token(told, logprob):
    reply = answer()
    reply["choices"][0]["logprobs"] = told
    with EndpointServer(lambda number, body: (200, {}, reply)) as server:
        assert asked(server) == [Completion("r0", "It is 5.", "stop", 3, 7, logprob)]


@pytest.mark.parametrize("usage", [b"null", b"[1]", b'{"completion_tokens": 1e999}', b'{"a": -1}'])
def test_a_text_is_no_worse_for_a_count_of_tokens_that_makes_no_sense(usage):
    text = b'{"choices": [{"text": "5", "finish_reason": "stop"}], "usage": ' + usage + b"}"
    with EndpointServer(lambda number, body: (200, {}, text)) as server:
        assert asked(server) == [Completion("r0", "5", "stop", 0, 0, None)]


def test_half_a_character_is_a_mark_that_can_be_written():
    with EndpointServer(lambda number, body: (200, {}, answer("\ud83d\ude00 \ud83d"))) as server:
        completions = asked(server)
    assert completions[0].text == "\U0001f600 \ufffd"
    assert Completion.from_table(Completion.to_table(completions)) == completions
