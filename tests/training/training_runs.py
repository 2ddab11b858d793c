"""Helpers for tests that train a tiny student: inputs, training, and comparison of trainings."""

import contextlib
import json
import os
import signal
import tempfile

import numpy as np
import pyarrow as pa
import pytest
from safetensors.torch import load_file

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.config import ArithmeticQuestions, RunConfig
from kpod_ray.data.examples import Example, build_example, encode_with_spans
from kpod_ray.questions.arithmetic import generate_questions
from kpod_ray.records import Question, StageRow, StepDifficulty, StepLosses, WeightedRationale
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store
from kpod_ray.training.phase import train_student

NUM_STAGES = 3
TWO = {"num_workers": 2}
HERE = {"num_workers": 0, "num_threads": 1}
"""Without workers, Ray Train runs the training in the process that calls ``fit``."""


def write_inputs(folder, tokenizer):
    """Write the inputs of a training with 7 questions: questions, examples, difficulties, schedule.

    Args:
        folder: folder of the new store.
        tokenizer: tokenizer of the student.

    Returns:
        The store, the artifact ``assess`` and the artifact ``plan``.
    """
    store = Store.open(folder)
    questions = generate_questions(
        ArithmeticQuestions(num_train=7, num_test=0, max_steps=3), seed=0
    )
    examples = []
    for i, question in enumerate(questions):
        text = question.reference_rationale
        _, starts, ends = encode_with_spans(tokenizer, text)
        steps = split_steps(text, split_newlines=False)
        weights = [0.1 + 0.8 * ((i + j) % 5) / 5 for j in range(len(starts))]
        rationale = WeightedRationale(
            question.id, text, starts.tolist(), ends.tolist(), weights, *zip(*steps, strict=True)
        )
        examples.append(build_example(tokenizer, question, rationale, "chat"))
    Artifact.of(store, "teacher", 1, {}, []).write("questions", Question.to_table(questions))
    assess = Artifact.of(store, "assess", 1, {}, [])
    assess.write("examples", Example.to_table(examples))
    plan = Artifact.of(store, "plan", 1, {}, [])
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
    """Train the tiny student in worker processes; return its parameters and its history.

    Args:
        inputs: result of `write_inputs`.
        label: distinguishes the artifacts of trainings in the same store.
        watch: called with the metrics of each train step.
        schedule: settings below ``schedule``.
        resources: settings below ``resources.train``.
        **student: settings below ``student``.

    Returns:
        The parameters by name, and one row of metrics per train step.
    """
    config = config_of(inputs, schedule, student)
    workers = {f"resources.train.{name}": value for name, value in dict(resources).items()}
    return _trained(inputs, config.override(workers), label, watch)


def train_here(inputs, label, schedule=(), **student):
    """Train as `train` does, but in this process, which saves the seconds to start workers."""
    config = in_this_process(config_of(inputs, schedule, student), "train")
    with unkept_checkpoints():
        return _trained(inputs, config, label, lambda metrics: None)


def in_this_process(config, *phases):
    """Return a config whose phases train in the process that runs the phase, without workers.

    A training without workers can't be resumed, so the config refuses the value 0 and `model_copy`,
    which doesn't validate, sets the value.

    Args:
        config: config of the run.
        *phases: names of fields of ``resources``.
    """
    resources = config.resources
    workers = {name: getattr(resources, name).model_copy(update=HERE) for name in phases}
    return config.model_copy(update={"resources": resources.model_copy(update=workers)})


@contextlib.contextmanager
def unkept_checkpoints():
    """Delete the checkpoints of trainings in this process when the block ends.

    Ray Train uploads no checkpoint without workers, so that the reported checkpoints stay in the folder
    for temporary files.
    """
    with tempfile.TemporaryDirectory() as folder:
        previous = tempfile.tempdir
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = previous


def config_of(inputs, schedule, student):
    """Return the config of a training of the tiny student with one worker.

    Args:
        inputs: result of `write_inputs`.
        schedule: settings below ``schedule``.
        student: settings below ``student``.
    """
    return RunConfig.model_validate(
        {
            "name": "t",
            "storage": inputs[0].root,
            "teacher": {"kind": "file", "path": "-"},
            "schedule": {"num_stages": NUM_STAGES, **dict(schedule)},
            "student": {
                "model": "tiny:0",
                "learning_rate": 1e-2,
                "global_batch_size": 4,
                "micro_batch_tokens": 100,
                **student,
            },
            "evaluation": {"max_new_tokens": 24},
            "resources": {"train": {"num_workers": 1, "num_threads": 1}},
        }
    )


def _trained(inputs, config, label, watch):
    store, assess, plan = inputs
    questions = Artifact.of(store, "teacher", 1, {}, [])
    artifact = Artifact.of(store, "train", 1, {"label": label}, [])
    artifact.finish(train_student(config, questions, assess, plan, artifact, watch))
    folder = f"{store.root}/{artifact.folder}"
    parameters = load_file(f"{folder}/student/model.safetensors")
    return parameters, json.loads(store.read_text(f"{artifact.folder}/history.json"))


def step_losses(inputs, label, stage):
    """Return the step losses that a finished training recorded at a stage: question id -> `[steps]`."""
    store = inputs[0]
    folder = Artifact.of(store, "train", 1, {"label": label}, []).folder
    rows = StepLosses.from_table(store.read_table(f"{folder}/step_losses/stage-{stage}.parquet"))
    return {row.question_id: np.array(row.step_losses) for row in rows}


def largest_difference(first, second):
    """Return the largest absolute difference between the parameters of two students."""
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def assert_same_way(training, reference):
    """Check that two trainings have the same losses at every train step, and the same parameters.

    Args:
        training: parameters and history of a training.
        reference: parameters and history of the training to compare with.
    """
    for row, reference_row in zip(training[1], reference[1], strict=True):
        assert row["loss"] == pytest.approx(reference_row["loss"], rel=1e-5)
        assert row["loss_tokens"] == reference_row["loss_tokens"]
    assert largest_difference(training[0], reference[0]) < 2e-3


def training_processes():
    """Return the process ids of the training workers of this test session.

    Ray names the process of an actor after the actor's class.
    """
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


class DeathsInStage2:
    """Watches a training; kills all its workers once, when the metrics of stage 2 first arrive."""

    def __init__(self):
        self.killed = []

    def __call__(self, metrics):
        if metrics["stage"] == 2 and not self.killed:
            self.killed.extend(training_processes())
            for pid in self.killed:
                os.kill(pid, signal.SIGKILL)


def is_ours(pid):
    """Return whether a process is a descendant of this one; other Rays may run on the machine."""
    while pid > 1:
        if pid == os.getpid():
            return True
        try:
            with open(f"/proc/{pid}/stat") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False
