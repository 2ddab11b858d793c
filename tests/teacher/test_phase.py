"""The phase ``teacher`` as a whole, with a real server that misbehaves, and with files."""

import os
import random
from collections import Counter

import pytest

from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.records import Question, Rationale
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store
from kpod_ray.teacher.phase import generate_rationales
from tests.inference.endpoint_server import EndpointServer, answer
from tests.json_lines import write_lines

QUESTIONS = [
    Question(
        f"q{i}", f"{i} and 2?", str(i + 2), "number", (), "test" if i % 7 == 6 else "train", ""
    )
    for i in range(40)
]
TRAINING = [question for question in QUESTIONS if question.split == "train"]


@pytest.fixture
def store(tmp_path):
    return Store.open(str(tmp_path / "store"))


def teach(store, teacher, questions=QUESTIONS):
    """Run the phase; return its artifact and manifest."""
    source = Artifact.of(store, "questions", 1, {}, [])
    source.write("questions", Question.to_table(questions))
    config = RunConfig.model_validate(
        {
            "name": "t",
            "teacher": teacher,
            "student": {"model": "tiny:0"},
            "resources": {"teacher": {"rows_per_block": 8}},
        }
    )
    artifact = Artifact.of(store, "teacher", 1, teacher, [])
    told = []
    manifest = generate_rationales(config, source, artifact, lambda *rows: told.append(rows), print)
    return artifact, manifest, told


def rows_of(artifact, name):
    return Rationale.from_table(artifact.read(name))


def endpoint(server, **settings):
    patient = {"max_wait_s": 0.05, "max_tries": 4, "timeout_s": 5}
    base = {
        "kind": "endpoint",
        "model": "m",
        "base_url": server.url,
        "filters": {"allow_leaks": True},
    }
    return {**base, **patient, **settings}


def solved(body):
    """Return the right answer to the last question of a chat."""
    number = int(body["messages"][-1]["content"].split()[0])
    return answer(f"{number} and 2 are {number + 2}. The answer is {number + 2}.", tokens=11)


def test_a_server_that_misbehaves_loses_nothing_and_makes_no_success_of_a_failure(
    ray_cluster, store
):
    rng, outcome = random.Random(0), Counter()

    def script(number, body):
        if body["path"] == "/v1/models":
            return 404, {}, {}
        kind = rng.choice(["good"] * 5 + ["busy", "broken", "cut", "not JSON", "refused", "long"])
        outcome[kind] += 1
        return {
            "good": (200, {}, solved(body)),
            "busy": (429, {"Retry-After": "0.05"}, {"error": {"message": "busy"}}),
            "broken": (500, {}, b"?"),
            "cut": None,
            "not JSON": (200, {}, b"{"),
            "refused": (400, {}, {"error": {"message": "no"}}),
            "long": (
                200,
                {},
                {"choices": [{"message": {"content": "1"}, "finish_reason": "length"}]},
            ),
        }[kind]

    with EndpointServer(script) as server:
        prices = {"price": {"input": 1.0, "output": 2.0}}
        artifact, manifest, told = teach(
            store, endpoint(server, samples={"per_question": 3}, **prices)
        )
    rows = [*rows_of(artifact, "rationales"), *rows_of(artifact, "rejects")]
    asked = {f"{question.id}/{k}" for question in TRAINING for k in range(3)}
    assert {row.id for row in rows} == asked
    assert (
        len(rows) == len(asked) == manifest["counts"]["samples"] == manifest["counts"]["generated"]
    )
    verdicts = Counter(row.verdict for row in rows)
    assert manifest["verdicts"] == dict(verdicts)
    good = sum(verdicts[name] for name in ("kept", "surplus", "duplicate"))
    assert good == outcome["good"]
    assert verdicts["truncated"] == outcome["long"]
    assert verdicts["error"] == len(asked) - good - outcome["long"] >= outcome["refused"]
    assert manifest["cost"] == pytest.approx((7 * good + 2 * 11 * good) / 1e6)
    assert told[-1] == (len(asked), len(asked))


def test_the_questions_that_go_on_are_those_of_the_rationales(ray_cluster, store):
    def script(number, body):
        return (200, {}, solved(body)) if "messages" in body else (404, {}, {})

    with EndpointServer(script) as server:
        first, manifest, _ = teach(store, endpoint(server))
        requests = len(server.seen)
        again, same, _ = teach(store, {**endpoint(server), "fallback": "reference"})
        assert len(server.seen) == requests  # the samples are there: nobody is asked
    assert manifest["counts"]["generated"] == len(TRAINING)
    assert same["counts"]["generated"] == 0
    assert Question.from_table(first.read("questions")) == TRAINING
    assert [row.question_id for row in rows_of(again, "rationales")] == [q.id for q in TRAINING]


def test_an_answer_that_samples_agree_on_goes_on_with_its_question(ray_cluster, store):
    open_ones = [Question(q.id, q.question, "", "number", (), "train", "") for q in TRAINING[:5]]

    def script(number, body):
        text = f"Way {number}: 2 and 3 are 5. The answer is 5."
        return 200, {}, answer(text if number % 4 else "I don't know.")

    with EndpointServer(script) as server:
        settings = {"samples": {"per_question": 4}, "num_kept": 2}
        filters = {"filters": {"self_consistency": 0.9}}
        artifact, manifest, _ = teach(store, endpoint(server, **settings, **filters), open_ones)
    asked = Question.from_table(artifact.read("questions"))
    assert {question.answer for question in asked} == {"5"}
    assert [question.id for question in asked] == [
        row.question_id for row in rows_of(artifact, "rationales")
    ]
    assert len(asked) == manifest["verdicts"]["kept"] <= 10
    assert len({question.id for question in asked}) == len(asked)


@pytest.mark.parametrize(
    ("reply", "settings", "message"),
    [
        ((401, {}, {}), {}, "answers 401; the server wants a key"),
        (
            (200, {}, {}),
            {"max_cost": 0.001, "price": {"output": 10.0}},
            "teacher.max_cost=0.001: 35",
        ),
        ((404, {}, {"error": "no model m"}), {}, "answers 404.*no model m"),
        (
            (400, {}, {"error": "no"}),
            {},
            "no rationale is left to train on: {'error': 35}; 35 of 35 samples failed, 35 of them "
            "with 'HTTP 400: no'; check that http.* takes such requests",
        ),
        (
            (200, {}, b"<html><h1>Sign in</h1></html>"),
            {"max_tries": 1, "timeout_s": 60},
            '35 of 35 samples failed, 35 of them with "an answer without a text .*Sign in',
        ),
    ],
)
def test_what_the_user_can_mend_ends_the_phase_in_one_line(
    ray_cluster, store, reply, settings, message
):
    key = {"api_key_env": "KPOD_TEST_UNSET_API_KEY"}
    assert key["api_key_env"] not in os.environ
    with (
        EndpointServer(lambda number, body: reply) as server,
        pytest.raises(KpodError, match=message) as caught,
    ):
        teach(store, endpoint(server, **settings, **key))
    assert "\n" not in str(caught.value)


def file_of(tmp_path, rows):
    return {"kind": "file", "path": write_lines(tmp_path / "rationales.jsonl", rows)}


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([], {}, "no rationale is left to train on: .*jsonl holds no row; check teacher.path"),
        (
            [{"id": f"x{i}", "rationale": "It is 3."} for i in range(3)],
            {},
            "{'unknown_question': 3}; 3 of 3 samples belong to no training question: such as id 'x0', "
            "where questions have ids such as 'q0'; set teacher.columns.id to the column",
        ),
        (
            [{"id": "q0", "rationale": "It may\nbe 5."}, {"id": "q1", "rationale": "Or 7."}],
            {},
            "{'wrong': 2}; 2 of 2 samples: the answer is not the gold answer, such as 'It may be 5.' "
            "for question q0; check columns 'rationale' and 'teacher_answer' of .* stronger teacher",
        ),
        (
            [{"id": "q0", "rationale": "It is 2.", "finish_reason": "length"}],
            {},
            "1 of 1 samples: cut off at the token limit",
        ),
        (
            [{"id": "q0", "rationale": "1 + 1 = 2. So it is 2."}],
            {"filters": {"min_steps": 9}},
            "fewer reasoning steps or tokens than .*; lower teacher.filters.min_steps",
        ),
        (
            [{"id": "q0", "rationale": "boom", "finish_reason": "error"}] * 2
            + [{"id": "q1", "rationale": "full", "finish_reason": "error"}],
            {},
            "3 of 3 samples failed, 2 of them with 'boom'; .*generate these rationales again",
        ),
        (
            [{"id": "q0", "rationale": "9 " * 300}],
            {},
            r"such as '(9 ){100} \.\.\.' for question q0",
        ),
    ],
)
def test_the_reason_why_nothing_is_left_is_said_with_its_mend(
    store, tmp_path, rows, settings, message
):
    with pytest.raises(KpodError, match=message) as caught:
        teach(store, file_of(tmp_path, rows) | settings)
    assert "\n" not in str(caught.value)


def test_questions_without_reference_rationales_are_told(store):
    with pytest.raises(
        KpodError, match=r"no training question .*; set questions.columns.rationale"
    ):
        teach(store, {"kind": "reference"})


def test_samples_of_a_file_are_judged_by_question_and_strangers_are_counted(store, tmp_path):
    rows = [
        {"id": "q1", "rationale": "1 and 2 are 3."},
        {"id": "q0", "rationale": "It is 9."},
        {"id": "q1", "rationale": "2 and 1 make 3."},
        {"id": "q6", "rationale": "6 and 2 are 8."},  # a test question
        {"id": "zz", "rationale": "It is 1."},
    ]
    artifact, manifest, _ = teach(store, file_of(tmp_path, rows))
    assert manifest["verdicts"] == {"kept": 1, "surplus": 1, "unknown_question": 2, "wrong": 1}
    assert manifest["counts"]["samples"] == 5
    assert [row.id for row in rows_of(artifact, "rationales")] == ["q1/0"]
    assert [row.id for row in rows_of(artifact, "rejects")] == ["q0/0", "q1/1", "q6/0", "zz/0"]
