import itertools

from kpod_ray.config import EndpointTeacher, VllmTeacher
from kpod_ray.inference.requests import generation_fingerprint, generation_requests, request_id
from kpod_ray.records import Question


def question(number, text="How many?"):
    return Question(f"q{number}", text, "1", "number", (), "train", "")


def test_a_request_depends_on_its_own_content_alone():
    few = list(generation_requests([question(1)], [1], "teacher"))
    many = list(generation_requests([question(0), question(1), question(2)], range(3), "teacher"))
    assert few == [many[4]]
    assert [request.text for request in many] == ["How many?"] * 9


def test_ids_and_seeds_differ_in_everything_that_matters():
    contents = list(itertools.product("ab", "cd", "ef", range(3)))
    ids = {request_id(*content) for content in contents}
    assert len(ids) == len(contents)
    assert request_id("ab", "c", "d", 0) != request_id("a", "bc", "d", 0)
    seeds = {r.seed for r in generation_requests([question(0), question(1)], range(4), "t")}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_the_fingerprint_is_of_what_is_written_not_of_how_much_or_what_becomes_of_it():
    base = {"kind": "vllm", "model": "tiny:0"}

    def fingerprint(seed=0, shots=(), **settings):
        return generation_fingerprint(VllmTeacher(**base, **settings), "hash", shots, seed)

    same = [
        fingerprint(samples={"per_question": 4}),
        fingerprint(selection="longest", filters={"max_steps": 3}, fallback="reference"),
    ]
    other = [
        fingerprint(temperature=0.8),
        fingerprint(max_new_tokens=9),
        fingerprint(instruction="Think."),
        fingerprint(stop=["x"]),
        fingerprint(engine_kwargs={"dtype": "bfloat16"}),
        fingerprint(seed=1),
        fingerprint(shots=[("q", "a")]),
    ]
    assert set(same) == {fingerprint()}
    assert len({fingerprint(), *other}) == 1 + len(other)
    assert fingerprint(seed=1, temperature=0) == fingerprint(seed=2, temperature=0)


def test_how_an_endpoint_is_asked_does_not_change_what_it_writes():
    def fingerprint(**settings):
        teacher = EndpointTeacher(kind="endpoint", model="m", base_url="http://here/v1", **settings)
        return generation_fingerprint(teacher, "", [], 0)

    assert fingerprint() == fingerprint(max_concurrent=3, requests_per_minute=9, timeout_s=1)
    assert fingerprint() != fingerprint(extra_body={"reasoning_effort": "low"})
