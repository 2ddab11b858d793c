import itertools

from kpod_ray.inference.requests import generation_requests, request_id
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
