"""Both students of a run answer as phase ``evaluate`` has them answer."""

import dataclasses
import shutil
import uuid

import pyarrow.fs as pafs
import pytest
import torch

from benchmarks.object_server import object_server
from kpod_ray.errors import KpodError
from kpod_ray.evaluation.scoring import predict
from kpod_ray.inference.records import Completion, GenerationRequest
from kpod_ray.inference.requests import question_request
from kpod_ray.inference.transformers_pool import GeneratorActor
from kpod_ray.pipeline.lookup import find_run
from kpod_ray.pipeline.student_pair import load_pair, question_of
from kpod_ray.storage.store import Store
from tests.pipeline.chat_runs import QUESTIONS, chat_run


@pytest.mark.parametrize("template", ["chat", "plain"])
def test_the_answers_are_those_of_phase_evaluate(tmp_path, template):
    settings = ["student.model=builtin:student", "evaluation.max_new_tokens=40"]
    settings.append(f"student.template={template}")
    run = chat_run(tmp_path, *settings, distilled="builtin:teacher")
    pair = load_pair(find_run(f"{run.store.root}/{run.folder}"), 0)
    requests = GenerationRequest.to_table(question_request(question) for question in QUESTIONS)
    max_new_tokens = run.config.evaluation.max_new_tokens
    expected = []
    for model in ("builtin:student", "builtin:teacher"):
        actor = GeneratorActor(model, template, "fp32", max_new_tokens)
        completions = Completion.from_table(actor(requests))
        expected.append([predict(*both) for both in zip(completions, QUESTIONS, strict=True)])
    answered = [pair.answer(question) for question in QUESTIONS]
    assert [list(of_model) for of_model in zip(*answered, strict=True)] == expected
    assert expected[0] != expected[1]


def test_answers_are_drawn_at_a_temperature(tmp_path):
    run = chat_run(tmp_path)
    pair = load_pair(find_run(f"{run.store.root}/{run.folder}"), 5.0)
    torch.manual_seed(0)
    texts = [tuple(p.text for p in pair.answer(QUESTIONS[0])) for _ in range(3)]
    assert len({first for first, _ in texts}) == len({second for _, second in texts}) == 3


def test_an_encoder_decoder_answers_too(tmp_path):
    run = chat_run(tmp_path, "student.model=tiny-t5:1", "evaluation.backend=transformers")
    pair = load_pair(find_run(f"{run.store.root}/{run.folder}"), 0)
    expected = GeneratorActor("tiny-t5:1", "chat", "fp32", run.config.evaluation.max_new_tokens)
    request = GenerationRequest.to_table([question_request(QUESTIONS[0])])
    (completion,) = Completion.from_table(expected(request))
    assert pair.answer(QUESTIONS[0])[0] == predict(completion, QUESTIONS[0])


def test_a_changed_student_is_refused(tmp_path):
    run = chat_run(tmp_path)
    with open(f"{run.artifacts['train'].path}/student/model.safetensors", "r+b") as file:
        file.seek(5000)
        file.write(b"changed")
    with pytest.raises(KpodError, match=r"model\.safetensors has another content"):
        load_pair(find_run(f"{run.store.root}/{run.folder}"), 0)


def test_a_missing_untouched_student_is_named(tmp_path):
    gone = tmp_path / "model"
    shutil.copytree(f"{chat_run(tmp_path).artifacts['train'].path}/student", gone)
    run = chat_run(tmp_path / "b", f"student.model={gone}")
    shutil.rmtree(gone)
    with pytest.raises(KpodError, match="no such model folder"):
        load_pair(find_run(f"{run.store.root}/{run.folder}"), 0)


def test_a_run_in_an_object_store_is_asked_by_its_address(tmp_path, monkeypatch):
    local = chat_run(tmp_path)
    with object_server() as server:
        server.tell("bucket runs")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        storage = f"s3://runs/{uuid.uuid4().hex}"
        copy_store(local.store, storage)
        pair = load_pair(find_run(f"{storage}/{local.folder}"), 0)
    here = load_pair(find_run(f"{local.store.root}/{local.folder}"), 0)
    assert pair.answer(QUESTIONS[1]) == here.answer(QUESTIONS[1])


def copy_store(store, storage):
    there = Store.open(storage)
    pafs.copy_files(store.root, there.root, store.filesystem, there.filesystem)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Ann has 3 eggs. How many?", 0),
        ("  Bo has  2 + 2 pens. How many?\n", 1),
        ("Which is odd?", 2),
        ("Which is odd? Answer choices: A. 2 B. 3", 2),
    ],
)
def test_a_question_of_the_run_is_found_whatever_its_white_space(text, number):
    assert question_of(text, QUESTIONS) == QUESTIONS[number]


def test_another_question_has_no_gold_answer_and_the_most_frequent_kind():
    asked = question_of(" How many pens? ", QUESTIONS)
    assert (asked.id, asked.question, asked.answer) == ("", "How many pens?", "")
    assert (asked.kind, asked.choices) == ("number", ())
    assert question_of("Odd?", [QUESTIONS[2]]).kind == "choice"


def test_of_two_equal_questions_the_test_question_is_taken():
    twin = dataclasses.replace(QUESTIONS[1], id="train-2", split="train")
    assert question_of(twin.question, [twin, *QUESTIONS]) == QUESTIONS[1]
