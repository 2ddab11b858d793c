import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.artifacts import Store
from kpod_ray.config import ArithmeticQuestions, RunConfig
from kpod_ray.data.arithmetic import generate_questions
from kpod_ray.data.examples import Example, build_example, encode_with_spans
from kpod_ray.distributed.trainer import train_student
from kpod_ray.models.folders import MODEL_CACHE, model_folder
from kpod_ray.records import StageRow, WeightedRationale

NUM_STAGES = 3


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, tiny_tokenizer):
    """A store with the examples and the schedule that training starts from: 7 questions."""
    store = Store.open(str(tmp_path_factory.mktemp("store")))
    questions = generate_questions(
        ArithmeticQuestions(num_train=7, num_test=0, max_steps=3), seed=0
    )
    examples = []
    for i, question in enumerate(questions):
        text = question.reference_rationale
        _, starts, ends = encode_with_spans(tiny_tokenizer, text)
        steps = split_steps(text, split_newlines=False)
        weights = [0.1 + 0.8 * ((i + j) % 5) / 5 for j in range(len(starts))]
        rationale = WeightedRationale(
            question.id, text, starts.tolist(), ends.tolist(), weights, *zip(*steps, strict=True)
        )
        examples.append(build_example(tiny_tokenizer, question, rationale, "chat"))
    assess = store.artifact("assess", 1, {}, [])
    assess.write("examples", Example.to_table(examples))
    plan = store.artifact("plan", 1, {}, [])
    rows = [
        StageRow(e.question_id, stage, max(0, e.num_steps - stage))
        for stage in range(NUM_STAGES + 1)
        for e in examples
    ]
    plan.write("schedule", StageRow.to_table(rows))
    return store, assess, plan


def train(inputs, label, watch=lambda metrics: None, **student):
    """Train the tiny student; return its parameters and its history."""
    store, assess, plan = inputs
    workers = student.pop("num_workers", 1)
    config = RunConfig.model_validate(
        {
            "name": "t",
            "storage": store.root,
            "teacher": {"kind": "file", "path": "-"},
            "schedule": {"num_stages": NUM_STAGES},
            "student": {
                "model": "tiny:0",
                "learning_rate": 1e-2,
                "global_batch_size": 4,
                "micro_batch_size": 2,
                **student,
            },
            "resources": {"train": {"num_workers": workers, "num_threads": 1}},
        }
    )
    artifact = store.artifact("train", 1, {"label": label}, [])
    artifact.finish(train_student(config, assess, plan, artifact, watch))
    folder = f"{store.root}/{artifact.folder}"
    parameters = load_file(f"{folder}/student/model.safetensors")
    return parameters, json.loads(store.read_text(f"{artifact.folder}/history.json"))


@pytest.fixture(scope="module")
def alone(ray_cluster, inputs):
    return train(inputs, "alone")


def largest_difference(first, second):
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_training_lowers_the_loss_and_covers_every_stage(alone):
    _, history = alone
    assert [row["stage"] for row in history] == [1, 1, 2, 2, 3, 3]
    assert [row["train_step"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["answer_loss"] < history[0]["answer_loss"]
    tokens = [row["loss_tokens"] for row in history]
    assert sum(tokens[:2]) < sum(tokens[2:4]) < sum(tokens[4:])


def test_the_same_seed_gives_the_same_student(alone, inputs):
    parameters, _ = train(inputs, "again")
    assert largest_difference(parameters, alone[0]) <= 1e-6


def test_two_workers_and_other_micro_batches_take_the_same_way(alone, inputs):
    parameters, history = train(inputs, "two", num_workers=2, micro_batch_size=1)
    for ours, theirs in zip(history, alone[1], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["loss_tokens"] == theirs["loss_tokens"]
    assert (
        largest_difference(parameters, alone[0]) < 2e-3
    )  # Adam divides tiny gradients by themselves


def test_more_workers_than_examples_of_a_train_step_take_the_same_way(alone, inputs):
    _, one = train(inputs, "small batches", global_batch_size=3)  # 7 = 3 + 3 + 1
    _, two = train(inputs, "small batches of two", global_batch_size=3, num_workers=2)
    for ours, theirs in zip(two, one, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


@pytest.mark.parametrize("denominator", ["weight", "examples"])
def test_the_denominator_scales_the_loss(alone, inputs, denominator):
    _, history = train(inputs, denominator, denominator=denominator)
    first, usual = history[0], alone[1][0]
    sums = usual["loss"] * usual["loss_tokens"]
    if denominator == "examples":
        expected = sums / 4
    else:
        rationale = usual["loss_tokens"] - answer_tokens(inputs, history)
        weight = usual["token_weight_mean"] * rationale + answer_tokens(inputs, history)
        expected = sums / weight
    assert first["loss"] == pytest.approx(expected, rel=1e-4)


def answer_tokens(inputs, history):
    """Answer tokens of the first train step: all its examples carry them."""
    from kpod_ray.data.batching import global_batches

    store, assess, _ = inputs
    examples = sorted(
        Example.from_table(store.read_table(f"{assess.folder}/examples.parquet")),
        key=lambda example: example.question_id,
    )
    indices = global_batches(range(len(examples)), 4, num_train_steps=2, seed=0, stage=1)[0]
    return sum(step == examples[i].num_steps for i in indices for step in examples[i].token_steps)


def test_a_killed_worker_changes_nothing(alone, inputs):
    killed = []

    def kill_once(metrics):
        if metrics["stage"] == 2 and not killed:
            killed.extend(training_processes())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    parameters, history = train(inputs, "killed", watch=kill_once)
    assert killed
    assert [row["train_step"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert largest_difference(parameters, alone[0]) <= 1e-6


def training_processes():
    """Process ids of this session's workers that train: Ray names processes after their actors."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline") as file:
                command = file.read()
        except OSError:
            continue
        if command.startswith("ray::") and "RayTrainWorker" in command and is_ours(int(name)):
            found.append(int(name))
    return found


def is_ours(pid):
    """Whether a process descends from this one: other Rays may run on the machine."""
    while pid > 1:
        if pid == os.getpid():
            return True
        try:
            with open(f"/proc/{pid}/stat") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


@pytest.fixture(scope="module", params=["encoder-decoder", "adapters"])
def other(request, ray_cluster, inputs):
    """Settings of another kind of student, and what it comes to alone."""
    kinds = {"encoder-decoder": {"model": "tiny-t5:0"}, "adapters": {"lora": {"rank": 4}}}
    settings = kinds[request.param]
    return request.param, settings, train(inputs, request.param, **settings)


def test_every_kind_of_student_learns_with_workers_and_micro_batches_as_they_may_be(other, inputs):
    name, settings, (parameters, history) = other
    assert history[-1]["answer_loss"] < history[0]["answer_loss"]
    two, other_history = train(inputs, f"{name} 2", num_workers=2, micro_batch_size=1, **settings)
    for ours, theirs in zip(other_history, history, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["loss_tokens"] == theirs["loss_tokens"]
    assert largest_difference(two, parameters) < 2e-3


def test_a_killed_worker_changes_nothing_for_any_kind_of_student(other, inputs):
    name, settings, (parameters, history) = other
    killed = []

    def kill_once(metrics):
        if metrics["stage"] == 2 and not killed:
            killed.extend(training_processes())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    resumed, resumed_history = train(inputs, f"{name} killed", watch=kill_once, **settings)
    assert killed
    assert [row["loss"] for row in resumed_history] == [row["loss"] for row in history]
    assert largest_difference(resumed, parameters) <= 1e-6


def test_an_exported_student_of_any_kind_is_an_ordinary_folder(other, inputs):
    name, settings, (parameters, _) = other
    untrained = load_file(
        f"{model_folder(settings.get('model', 'tiny:0'), MODEL_CACHE)}/model.safetensors"
    )
    assert parameters.keys() == untrained.keys()  # adapters are merged
    changed = {key for key in parameters if not torch.equal(parameters[key], untrained[key])}
    if name == "adapters":
        assert changed == {key for key in parameters if key.endswith("_proj.weight")}
    else:
        assert changed == set(parameters)


def test_parameters_differ_from_the_untrained_ones(alone, tiny_folder):
    untrained = load_file(f"{tiny_folder}/model.safetensors")
    assert largest_difference(untrained, alone[0]) > 1e-3
    assert all(torch.isfinite(tensor).all() for tensor in alone[0].values())
