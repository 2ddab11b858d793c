import functools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kpod_ray.algorithm.step_difficulty import step_difficulties
from kpod_ray.cluster.metrics_board import watched
from kpod_ray.cluster.placement import CPU_ENVIRONMENT
from kpod_ray.cluster.torch_trainer import fit
from kpod_ray.config import WorkerResources
from kpod_ray.data.batches import collate
from kpod_ray.data.examples import Example
from kpod_ray.errors import KpodError
from kpod_ray.models.student import load_student
from kpod_ray.records import StageRow
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store
from tests.training.training_runs import (
    NUM_STAGES,
    TWO,
    assert_same_way,
    largest_difference,
    step_losses,
    train,
    train_here,
)


def test_training_lowers_the_loss_and_covers_every_stage(alone):
    _, history = alone
    assert [row["stage"] for row in history] == [1, 1, 2, 2, 3, 3]
    assert [row["train_step"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["answer_loss"] < history[0]["answer_loss"]
    tokens = [row["loss_tokens"] for row in history]
    assert sum(tokens[:2]) < sum(tokens[2:4]) < sum(tokens[4:])


def test_the_same_seed_gives_the_same_student_in_whatever_process(alone, training_inputs):
    parameters, _ = train_here(training_inputs, "again")
    assert largest_difference(parameters, alone[0]) <= 1e-6


def test_parameters_differ_from_the_untrained_ones(alone, tiny_folder):
    untrained = load_file(f"{tiny_folder}/model.safetensors")
    assert largest_difference(untrained, alone[0]) > 1e-3
    assert all(torch.isfinite(tensor).all() for tensor in alone[0].values())


def test_a_worker_starts_with_malloc_as_a_cpu_wants_it(ray_cluster, tmp_path):
    def environment(_):
        return {name: os.environ.get(name) for name in CPU_ENVIRONMENT}

    artifact = Artifact.of(Store.open(str(tmp_path)), "train", 1, {}, [])
    with watched(lambda _: None) as board:
        found = fit(environment, {"board": board}, WorkerResources(), artifact)
    assert {name: found[name] for name in CPU_ENVIRONMENT} == CPU_ENVIRONMENT


def test_a_gradient_that_is_not_finite_names_its_questions(ray_cluster, training_inputs):
    with pytest.raises(
        KpodError, match=r"^stage 1: the gradient of questions .* isn't finite; lower"
    ):
        train(training_inputs, "too fast", resources=TWO, learning_rate=1e30)


ONE_UPDATE = {"global_batch_size": 64, "learning_rate": 1e38, "warmup": 0.0}
"""With one stage, the update that destroys the student is the last one."""


@pytest.mark.parametrize(
    ("label", "resources", "student"),
    [
        ("full", None, {}),
        ("lora", None, {"lora": {"rank": 2}}),
        ("two", TWO, {}),
        ("sharded", {**TWO, "sharding": True}, {}),
    ],
)
def test_a_student_destroyed_by_the_last_update_is_not_finished(
    ray_cluster, training_inputs, label, resources, student
):
    label = f"destroyed {label}"
    run = train_here if resources is None else functools.partial(train, resources=resources)
    settings = {"schedule": {"num_stages": 1}, **ONE_UPDATE, **student}
    with pytest.raises(KpodError) as raised:
        run(training_inputs, label, **settings)
    assert str(raised.value) == (
        "stage 1: the student's parameters aren't finite; lower student.learning_rate"
    )
    artifact = Artifact.of(training_inputs[0], "train", 1, {"label": label}, [])
    assert not artifact.is_finished()
    assert not artifact.store.exists(f"{artifact.folder}/student")


def test_the_last_good_checkpoint_of_a_destroyed_student_is_kept(ray_cluster, training_inputs):
    label = "destroyed later"
    settings = {**ONE_UPDATE, "warmup": 0.9}  # the learning rate of the first update is 0
    with pytest.raises(KpodError, match=r"^stage 2: the student's parameters aren't finite"):
        train(training_inputs, label, schedule={"num_stages": 2}, **settings)
    artifact = Artifact.of(training_inputs[0], "train", 1, {"label": label}, [])
    (progress,) = Path(artifact.path, "fit").glob("checkpoint_*/progress.json")
    assert json.loads(progress.read_text())["progress"]["stage"] == 2
    files = [f for f in progress.parent.glob("*.safetensors") if f.name != "further.safetensors"]
    assert files
    assert all(t.isfinite().all() for file in files for t in load_file(file).values())


def test_a_validation_accuracy_without_a_validation_set_is_refused(ray_cluster, training_inputs):
    settings = {"accuracy_every_stages": 1, "validation_fraction": 0.1}
    with pytest.raises(KpodError, match=r"^the validation set is empty, .*; raise student.valid"):
        train_here(training_inputs, "no validation", **settings)


def test_two_workers_and_other_micro_batches_take_the_same_way(alone, training_inputs):
    parameters, history = train(
        training_inputs, "two", resources=TWO, micro_batch_tokens=1, packing=False
    )
    for ours, theirs in zip(history, alone[1], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["loss_tokens"] == theirs["loss_tokens"]
    assert (
        largest_difference(parameters, alone[0]) < 2e-3
    )  # Adam divides tiny gradients by themselves
    for stage in range(1, NUM_STAGES + 1):
        ours, theirs = (step_losses(training_inputs, label, stage) for label in ("two", "alone"))
        assert ours.keys() == theirs.keys()
        for i in ours:
            np.testing.assert_allclose(ours[i], theirs[i], rtol=1e-3)


def test_three_workers_take_the_same_way(alone, training_inputs):
    resources = {"num_workers": 3}  # a train step of four examples is 2 + 1 + 1
    assert_same_way(train(training_inputs, "three", resources=resources), alone)


def test_workers_that_share_out_the_student_take_the_same_way(alone, training_inputs):
    resources = {**TWO, "sharding": True}
    taken = train(training_inputs, "sharded", resources=resources, gradient_checkpointing=True)
    assert_same_way(taken, alone)


def test_one_worker_goes_on_where_there_is_no_room_for_two(alone, training_inputs):
    resources = {**TWO, "min_workers": 1, "num_cpus": 4}  # the cluster has 6
    assert_same_way(train(training_inputs, "elastic", resources=resources), alone)


def test_more_workers_than_examples_of_a_train_step_take_the_same_way(alone, training_inputs):
    _, one = train_here(training_inputs, "small batches", global_batch_size=3)  # 7 = 3 + 3 + 1
    _, two = train(training_inputs, "small batches of two", resources=TWO, global_batch_size=3)
    for ours, theirs in zip(two, one, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


@pytest.mark.parametrize("denominator", ["weight", "examples"])
def test_the_denominator_scales_the_loss(alone, training_inputs, denominator):
    _, history = train_here(training_inputs, denominator, loss_normalization=denominator)
    first, usual = history[0], alone[1][0]
    sums = usual["loss"] * usual["loss_tokens"]
    if denominator == "examples":
        expected = sums / 4
    else:
        rationale = usual["loss_tokens"] - answer_tokens(training_inputs, history)
        weight = usual["token_weight_mean"] * rationale + answer_tokens(training_inputs, history)
        expected = sums / weight
    assert first["loss"] == pytest.approx(expected, rel=1e-4)


def answer_tokens(training_inputs, history):
    """Answer tokens of the first train step: all its examples carry them."""
    from kpod_ray.data.sampler import global_batches

    store, assess, _ = training_inputs
    examples = sorted(
        Example.from_table(store.read_table(f"{assess.folder}/examples.parquet")),
        key=lambda example: example.question_id,
    )
    indices = global_batches(range(len(examples)), 4, num_train_steps=2, seed=0, stage=1)[0]
    return sum(step == examples[i].num_steps for i in indices for step in examples[i].token_steps)


def untrained_losses(example, student, weights):
    """Eq. 8 of each step of one example, on its own."""
    with torch.no_grad():
        nll = student(collate([example], [0], 0)).token_nll
    steps = torch.tensor(example.token_steps)
    inside = steps < example.num_steps
    result = step_difficulties(
        nll[inside], torch.tensor(weights)[inside], steps[inside], example.num_steps
    )
    return result.numpy()


@pytest.mark.parametrize("difficulty_weights", ["from_weighting", "uniform"])
def test_step_losses_are_those_of_the_emitted_steps(
    ray_cluster, training_inputs, tiny_folder, difficulty_weights
):
    # With hardly any learning they are the difficulties under the untrained student, and nothing
    # is known of the steps that are given.
    store, assess, _ = training_inputs
    schedule = {"difficulty_weights": difficulty_weights}
    train_here(training_inputs, difficulty_weights, schedule=schedule, learning_rate=1e-12)
    student = load_student(tiny_folder, torch.float32).eval()
    examples = Example.from_table(store.read_table(f"{assess.folder}/examples.parquet"))
    for stage in range(1, NUM_STAGES + 1):
        losses = step_losses(training_inputs, difficulty_weights, stage)
        assert sorted(losses) == sorted(e.question_id for e in examples)
        for example in examples:
            learned = difficulty_weights == "from_weighting"
            weights = example.token_weights if learned else [1.0] * len(example.token_weights)
            expected = untrained_losses(example, student, weights)
            expected[: max(0, example.num_steps - stage)] = np.nan
            np.testing.assert_allclose(losses[example.question_id], expected, rtol=1e-4)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_stage_with_few_questions_has_the_same_train_steps(
    ray_cluster, training_inputs, num_workers
):
    store, assess, _ = training_inputs
    ids = sorted(Example.from_table(assess.read("examples")), key=lambda e: e.question_id)
    plan = Artifact.of(store, "plan", 1, {"few": True}, [])
    parts = {1: ids[:1], 2: ids[:5], 3: ids}  # one question for two train steps of four
    rows = [StageRow(e.question_id, stage, 0) for stage, part in parts.items() for e in part]
    plan.write("schedule", StageRow.to_table(rows))
    plan.write("clusters", training_inputs[2].read("clusters"))
    label, inputs = f"few {num_workers}", (store, assess, plan)
    _, history = (
        train_here(inputs, label) if num_workers == 1 else train(inputs, label, resources=TWO)
    )
    assert [row["stage"] for row in history] == [1, 1, 2, 2, 3, 3]
    assert history[0]["tokens"] == 4 * ids[0].num_tokens()
    for stage, part in parts.items():
        losses = step_losses(training_inputs, label, stage)
        measured = {i for i, values in losses.items() if not np.isnan(values).any()}
        unmeasured = {i for i, values in losses.items() if np.isnan(values).all()}
        assert measured == {e.question_id for e in part}
        assert measured | unmeasured == set(losses)
