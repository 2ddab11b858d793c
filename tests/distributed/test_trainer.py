import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from safetensors.torch import load_file

from kpod_ray.algorithm.loss import step_difficulties
from kpod_ray.algorithm.steps import split_steps
from kpod_ray.artifacts import Store
from kpod_ray.config import ArithmeticQuestions, RunConfig
from kpod_ray.data.arithmetic import generate_questions
from kpod_ray.data.batching import collate
from kpod_ray.data.examples import Example, build_example, encode_with_spans
from kpod_ray.distributed.trainer import train_student
from kpod_ray.errors import KpodError
from kpod_ray.models.folders import MODEL_CACHE, model_folder
from kpod_ray.models.student import load_student
from kpod_ray.records import StageRow, StepDifficulty, StepLosses, WeightedRationale

NUM_STAGES = 3
TWO = {"num_workers": 2}


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
    difficulties = [
        StepDifficulty(e.question_id, [2.0] * e.num_steps, [2.0] * e.num_steps) for e in examples
    ]
    assess.write("difficulties", StepDifficulty.to_table(difficulties))
    ids = sorted(e.question_id for e in examples)
    plan.write("clusters", pa.table({"question_id": ids, "cluster_id": np.arange(len(ids)) % 2}))
    return store, assess, plan


def train(inputs, label, watch=lambda metrics: None, schedule=(), resources=(), **student):
    """Train the tiny student; return its parameters and its history."""
    store, assess, plan = inputs
    config = RunConfig.model_validate(
        {
            "name": "t",
            "storage": store.root,
            "teacher": {"kind": "file", "path": "-"},
            "schedule": {"num_stages": NUM_STAGES, **dict(schedule)},
            "student": {
                "model": "tiny:0",
                "learning_rate": 1e-2,
                "global_batch_size": 4,
                "micro_batch_tokens": 100,
                **student,
            },
            "resources": {"train": {"num_workers": 1, "num_threads": 1, **dict(resources)}},
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


def step_losses(inputs, label, stage):
    """The losses of a stage's steps in a finished training, by question."""
    store = inputs[0]
    folder = store.artifact("train", 1, {"label": label}, []).folder
    rows = StepLosses.from_table(store.read_table(f"{folder}/step_losses/stage-{stage}.parquet"))
    return {row.question_id: np.array(row.step_losses) for row in rows}


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


def test_a_gradient_that_is_not_finite_names_its_questions(ray_cluster, inputs):
    with pytest.raises(
        KpodError, match=r"^stage 1: the gradient of questions .* isn't finite; lower"
    ):
        train(inputs, "too fast", resources=TWO, learning_rate=1e30)


def test_two_workers_and_other_micro_batches_take_the_same_way(alone, inputs):
    parameters, history = train(inputs, "two", resources=TWO, micro_batch_tokens=1, packing=False)
    for ours, theirs in zip(history, alone[1], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["loss_tokens"] == theirs["loss_tokens"]
    assert (
        largest_difference(parameters, alone[0]) < 2e-3
    )  # Adam divides tiny gradients by themselves
    for stage in range(1, NUM_STAGES + 1):
        ours, theirs = (step_losses(inputs, label, stage) for label in ("two", "alone"))
        assert ours.keys() == theirs.keys()
        for i in ours:
            np.testing.assert_allclose(ours[i], theirs[i], rtol=1e-3)


def test_questions_held_out_are_measured_and_the_best_student_is_kept(ray_cluster, inputs):
    store, assess, plan = inputs
    ids = sorted(plan.read("clusters")["question_id"].to_pylist())
    held_out, own_plan = ids[:2], store.artifact("plan", 1, {"held out": True}, [])
    schedule, clusters = plan.read("schedule"), plan.read("clusters")
    for name, table in (("schedule", schedule), ("clusters", clusters)):
        own_plan.write(
            name, table.filter(pc.invert(pc.is_in(table["question_id"], pa.array(held_out))))
        )
    settings = {"validation_fraction": 0.3, "keep": "best", "learning_rate": 0.3, "warmup": 0.99}
    two = train((store, assess, own_plan), "best 2", resources=TWO, **settings)
    one = train((store, assess, own_plan), "best 1", **settings)
    rows, rows_of_two = (
        [row for row in history if "validation_loss" in row] for _, history in (one, two)
    )
    assert [row["stage"] for row in rows] == [1, 2, 3]
    losses = [row["validation_loss"] for row in rows]
    assert [row["validation_loss"] for row in rows_of_two] == pytest.approx(losses, rel=1e-2)
    assert losses[-1] > min(losses)  # it becomes too fast
    manifest = store.artifact("train", 1, {"label": "best 1"}, []).manifest()
    assert manifest["best"] == {
        "stage": 1 + losses.index(min(losses)),
        "validation_loss": min(losses),
    }
    # What was exported has that loss.
    folder = f"{store.root}/{store.artifact('train', 1, {'label': 'best 1'}, []).folder}/student"
    student = load_student(folder, torch.float32).eval()
    examples = [e for e in Example.from_table(assess.read("examples")) if e.question_id in held_out]
    with torch.no_grad():
        nll = torch.cat([student(collate([e], [0], 0)).token_nll for e in examples])
    assert float(nll.mean()) == pytest.approx(min(losses), rel=1e-4)


def assert_same_way(taken, alone):
    """Check that another training went the way of the one alone."""
    for ours, theirs in zip(taken[1], alone[1], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["loss_tokens"] == theirs["loss_tokens"]
    assert largest_difference(taken[0], alone[0]) < 2e-3


def test_workers_that_share_out_the_student_take_the_same_way(alone, inputs):
    resources = {**TWO, "sharding": True}
    taken = train(inputs, "sharded", resources=resources, gradient_checkpointing=True)
    assert_same_way(taken, alone)


def test_one_worker_goes_on_where_there_is_no_room_for_two(alone, inputs):
    resources = {**TWO, "min_workers": 1, "num_cpus": 4}  # the cluster has 6
    assert_same_way(train(inputs, "elastic", resources=resources), alone)


def test_more_workers_than_examples_of_a_train_step_take_the_same_way(alone, inputs):
    _, one = train(inputs, "small batches", global_batch_size=3)  # 7 = 3 + 3 + 1
    _, two = train(inputs, "small batches of two", resources=TWO, global_batch_size=3)
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


def test_a_worker_killed_inside_a_stage_goes_on_at_the_next_train_step(alone, inputs):
    killed, seen = [], []

    def kill_once(metrics):
        seen.append(metrics["train_step"])
        if metrics["train_step"] == 3 and not killed:  # the first of two of stage 2
            killed.extend(training_processes())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    resources = {**TWO, "checkpoint_every": 1}
    parameters, history = train(inputs, "killed inside", kill_once, resources=resources)
    assert killed
    assert [row["train_step"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert_same_way((parameters, history), alone)
    for stage in range(1, NUM_STAGES + 1):
        ours, theirs = (step_losses(inputs, label, stage) for label in ("killed inside", "alone"))
        for i in theirs:
            np.testing.assert_allclose(ours[i], theirs[i], rtol=1e-4)


def test_a_damaged_checkpoint_gives_way_and_another_settings_one_is_refused(alone, inputs):
    store = inputs[0]
    folder, other = (
        Path(store.root) / store.artifact("train", 1, {"label": label}, []).folder
        for label in ("damaged", "copied")
    )
    killed = []

    def damage_and_kill(metrics):
        if metrics["train_step"] == 3 and not killed:
            killed.extend(training_processes())
            for pid in killed:
                os.kill(pid, signal.SIGSTOP)  # no further checkpoint meanwhile
            time.sleep(1)  # what Ray Train was about to delete is gone
            shutil.copytree(folder / "fit", other / "fit")
            checkpoints = sorted(p for p in folder.glob("fit/checkpoint_*") if p.is_dir())
            for checkpoint in checkpoints[1:]:  # the last may not be whole yet, and not count
                file = checkpoint / "parameters.safetensors"
                if file.exists():
                    file.write_bytes(file.read_bytes()[:-100])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    resources = {"checkpoint_every": 1}
    parameters, history = train(inputs, "damaged", damage_and_kill, resources=resources)
    assert killed
    assert [row["train_step"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert largest_difference(parameters, alone[0]) <= 1e-6
    warning = store.artifact("train", 1, {"label": "damaged"}, []).manifest()["warning"]
    assert re.fullmatch(
        r"checkpoint_\S+ is damaged \(parameters.safetensors: .*\), the one before it was used",
        warning,
    )
    with pytest.raises(
        KpodError, match=r"^the checkpoints in train/\w+/fit are of train/\w+, which has other"
    ):
        train(inputs, "copied")


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
    two, other_history = train(
        inputs, f"{name} 2", resources=TWO, micro_batch_tokens=1, packing=False, **settings
    )
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


@pytest.mark.parametrize("difficulty_weights", ["learned", "uniform"])
def test_step_losses_are_those_of_the_emitted_steps(
    ray_cluster, inputs, tiny_folder, difficulty_weights
):
    # With hardly any learning they are the difficulties under the untrained student, and nothing
    # is known of the steps that are given.
    store, assess, _ = inputs
    schedule = {"difficulty_weights": difficulty_weights}
    train(inputs, difficulty_weights, schedule=schedule, learning_rate=1e-12)
    student = load_student(tiny_folder, torch.float32).eval()
    examples = Example.from_table(store.read_table(f"{assess.folder}/examples.parquet"))
    for stage in range(1, NUM_STAGES + 1):
        losses = step_losses(inputs, difficulty_weights, stage)
        assert sorted(losses) == sorted(e.question_id for e in examples)
        for example in examples:
            learned = difficulty_weights == "learned"
            weights = example.token_weights if learned else [1.0] * len(example.token_weights)
            expected = untrained_losses(example, student, weights)
            expected[: max(0, example.num_steps - stage)] = np.nan
            np.testing.assert_allclose(losses[example.question_id], expected, rtol=1e-4)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_stage_with_few_questions_has_the_same_train_steps(ray_cluster, inputs, num_workers):
    store, assess, _ = inputs
    ids = sorted(Example.from_table(assess.read("examples")), key=lambda e: e.question_id)
    plan = store.artifact("plan", 1, {"few": True}, [])
    parts = {1: ids[:1], 2: ids[:5], 3: ids}  # one question for two train steps of four
    rows = [StageRow(e.question_id, stage, 0) for stage, part in parts.items() for e in part]
    plan.write("schedule", StageRow.to_table(rows))
    plan.write("clusters", inputs[2].read("clusters"))
    label = f"few {num_workers}"
    _, history = train((store, assess, plan), label, resources={"num_workers": num_workers})
    assert [row["stage"] for row in history] == [1, 1, 2, 2, 3, 3]
    assert history[0]["tokens"] == 4 * ids[0].num_tokens()
    for stage, part in parts.items():
        losses = step_losses(inputs, label, stage)
        measured = {i for i, values in losses.items() if not np.isnan(values).any()}
        unmeasured = {i for i, values in losses.items() if np.isnan(values).all()}
        assert measured == {e.question_id for e in part}
        assert measured | unmeasured == set(losses)


def test_an_adaptive_training_decides_from_its_own_losses(ray_cluster, inputs):
    store = inputs[0]
    schedule = {"adaptive": True, "full_stage": 3, "num_clusters": 2}
    killed = []

    def kill_once(metrics):
        if metrics["stage"] == 2 and not killed:
            killed.extend(training_processes())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    untouched, _ = train(inputs, "adaptive", schedule=schedule)
    resumed, _ = train(inputs, "adaptive killed", watch=kill_once, schedule=schedule)
    assert killed
    assert largest_difference(untouched, resumed) <= 1e-6
    tables = []
    for label in ("adaptive", "adaptive killed"):
        folder = store.artifact("train", 1, {"label": label}, []).folder
        decisions = json.loads(store.read_text(f"{folder}/decisions.json"))
        assert [entry["plan"] for entry in decisions.values()] == [
            f"{folder}/replans/stage-{t}" for t in (1, 2, 3)
        ]
        tables.append(
            [store.read_table(f"{e['plan']}/schedule.parquet") for e in decisions.values()]
        )
    assert all(first.equals(second) for first, second in zip(*tables, strict=True))
    losses = step_losses(inputs, "adaptive", 1)
    assert any(np.isnan(values).any() for values in losses.values())
    totals = json.loads(
        store.read_text(
            f"{store.artifact('train', 1, {'label': 'adaptive'}, []).folder}/replans/stage-2/totals.json"
        )
    )
    # D'(2) from what stage 1 measured, and 2 nats for every step that it did not emit.
    total = sum(np.where(np.isnan(values), 2.0, values).sum() for values in losses.values())
    share = 0.3 + 0.7 * (2 / 3) ** 1.5
    assert totals["ceilings"] == pytest.approx([total * share], rel=1e-5)
