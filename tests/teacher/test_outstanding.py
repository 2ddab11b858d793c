"""The requests that a teacher would still get are those that the phase sends."""

import dataclasses

import pytest

from kpod_ray.config import VllmTeacher
from kpod_ray.errors import KpodError
from kpod_ray.inference.records import Completion
from kpod_ray.inference.requests import generation_requests
from kpod_ray.records import Question
from kpod_ray.storage.store import Store
from kpod_ray.teacher.fingerprints import completions_folder, generation_fingerprint
from kpod_ray.teacher.outstanding import outstanding

QUESTIONS = [
    Question(f"q{i}", f"number {i}?", str(i), "number", (), "train", f"It is {i}.")
    for i in range(5)
]


def teacher(**settings):
    return VllmTeacher(kind="vllm", model="tiny:0", samples={"per_question": 3}, **settings)


@pytest.fixture
def store(tmp_path):
    return Store.at(str(tmp_path / "store"))


def requests_of(settings, shots=()):
    fingerprint = generation_fingerprint(settings, "", shots, 0)
    return list(generation_requests(QUESTIONS, range(3), fingerprint)), fingerprint


def test_without_a_completion_all_are_left_and_nothing_is_written(store, tmp_path):
    left = outstanding(teacher(), QUESTIONS, 0, store)
    assert (list(left.requests), left.num_there) == (requests_of(teacher())[0], 0)
    assert left.shots == []
    assert not (tmp_path / "store").exists()


def test_completions_are_taken_off_but_not_errors_and_those_of_other_settings(store):
    requests, fingerprint = requests_of(teacher())
    rows = [
        Completion(request.id, "t", "error" if i == 4 else "stop", 1)
        for i, request in enumerate(requests[:6])
    ]
    store.add_part(completions_folder(fingerprint), Completion.to_table(rows))
    left = outstanding(teacher(), QUESTIONS, 0, store)
    assert list(left.requests) == [requests[4], *requests[6:]]
    assert left.num_there == 5
    for other, seed in ((teacher(temperature=0.1), 0), (teacher(), 1)):
        assert outstanding(other, QUESTIONS, seed, store).num_there == 0
    more = VllmTeacher(kind="vllm", model="tiny:0", samples={"per_question": 4})
    assert outstanding(more, QUESTIONS, 0, store).num_there == 5


def test_worked_examples_are_part_of_the_prompt(store):
    left = outstanding(teacher(num_shots=2), QUESTIONS, 0, store)
    assert [question for question, _ in left.shots] == ["number 0?", "number 1?", "number 2?"]
    assert list(left.requests) == requests_of(teacher(num_shots=2), left.shots)[0]
    bare = [dataclasses.replace(question, reference_rationale="") for question in QUESTIONS]
    with pytest.raises(KpodError, match="num_shots=2: only 0 training questions"):
        outstanding(teacher(num_shots=2), bare, 0, store)
