import functools

import pytest

from kpod_ray.config import ActorResources, VllmTeacher
from kpod_ray.inference.records import Completion
from kpod_ray.inference.service import ServicePool
from kpod_ray.records import Question
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store
from kpod_ray.teacher.fingerprints import generation_fingerprint
from kpod_ray.teacher.sampling import SamplingPlan, ask
from tests.inference.scripted import Scripted, marked

QUESTIONS = [
    Question(f"q{i}", f"number {i}?", str(i), "number", (), "test" if i == 3 else "train", "")
    for i in range(12)
]
TRAINING = [question for question in QUESTIONS if question.split == "train"]


@pytest.fixture
def store(tmp_path):
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def questions(store):
    artifact = Artifact.of(store, "questions", 1, {}, [])
    artifact.write("questions", Question.to_table(QUESTIONS))
    return artifact


def ask_all(store, questions, marks, is_solved=lambda question, samples: False, **settings):
    """Ask as a run does; return all samples by question, and how many were generated for it."""
    teacher = VllmTeacher(kind="vllm", model="tiny:0", **settings)
    before = len(marked(marks))
    resources = ActorResources(rows_per_block=4)
    start = functools.partial(Scripted, marks)
    asked = ask(
        SamplingPlan(
            teacher,
            generation_fingerprint(teacher, "", [], 0),
            lambda num, chars: ServicePool(start, resources, 16),
            Artifact.of(store, "teacher", 1, {"settings": str(settings)}, []),
            lambda num_done, num_rows: None,
        ),
        questions,
        is_solved,
    )
    generated = len(marked(marks)) - before
    assert asked.num_generated == generated
    return dict(zip(TRAINING, asked.samples(TRAINING, 0), strict=True)), generated


def test_samples_are_those_of_their_question_and_only_training_questions_are_asked(
    ray_cluster, store, questions, tmp_path
):
    samples, generated = ask_all(store, questions, tmp_path / "m", samples={"per_question": 2})
    assert generated == 22
    for question, of_question in samples.items():
        assert [(s.question_id, s.sample_index) for s in of_question] == [
            (question.id, 0),
            (question.id, 1),
        ]
        assert {s.text for s in of_question} == {question.question[::-1]}
        assert {s.logprob for s in of_question} == {-1.5}


def test_more_samples_ask_for_the_new_ones_alone_and_the_same_for_nothing(
    ray_cluster, store, questions, tmp_path
):
    ask = functools.partial(ask_all, store, questions, tmp_path / "marks")
    assert ask(samples={"per_question": 1})[1] == 11
    assert ask(samples={"per_question": 3})[1] == 22
    assert ask(samples={"per_question": 2})[1] == 0
    samples, generated = ask(samples={"per_question": 3}, selection="shortest")
    assert generated == 0
    assert all(len(of_question) == 3 for of_question in samples.values())
    assert ask(samples={"per_question": 1}, temperature=0.9)[1] == 11


def test_rounds_go_on_for_questions_that_are_not_solved(ray_cluster, store, questions, tmp_path):
    def is_solved(question, samples):
        return len(samples) >= 1 + int(question.answer)  # question 0 at once, 1 in the next round

    ask = functools.partial(ask_all, store, questions, tmp_path / "marks", is_solved)
    samples, generated = ask(samples={"per_question": 1, "retry_rounds": 2})
    asked = {question.id: len(of_question) for question, of_question in samples.items()}
    assert asked == {q.id: min(3, 1 + int(q.answer)) for q in TRAINING}
    assert generated == sum(asked.values()) == 1 + 2 + 9 * 3
    again = ask(samples={"per_question": 1, "retry_rounds": 2})
    assert again == (samples, 0)


def test_an_error_is_tried_again_when_the_phase_runs_again(ray_cluster, store, questions, tmp_path):
    class Failing(Scripted):
        async def generate(self, request):
            completion = await super().generate(request)
            return Completion(completion.id, "busy", "error", 0)

    teacher = VllmTeacher(kind="vllm", model="tiny:0")
    fingerprint = generation_fingerprint(teacher, "", [], 0)
    marks, resources = tmp_path / "marks", ActorResources(rows_per_block=4)
    failing = ServicePool(functools.partial(Failing, tmp_path / "failed"), resources, 16)
    artifact = Artifact.of(store, "teacher", 1, {}, [])
    plan = SamplingPlan(
        teacher, fingerprint, lambda num, chars: failing, artifact, lambda done, rows: None
    )
    asked = ask(plan, questions, lambda question, samples: False)
    assert {s.finish_reason for of_q in asked.samples(TRAINING, 0) for s in of_q} == {"error"}
    samples, generated = ask_all(store, questions, marks)
    assert generated == 11
    assert {s.finish_reason for of_q in samples.values() for s in of_q} == {"stop"}
