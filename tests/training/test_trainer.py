"""One optimiser update after another: what they tell, and what they refuse."""

import dataclasses

import numpy as np
import pytest
import torch

from kpod_ray.config import StudentConfig
from kpod_ray.errors import KpodError
from kpod_ray.models.finite import check_finite
from kpod_ray.models.packing import use_packing
from kpod_ray.models.student import load_student
from kpod_ray.training.trainer import StudentTraining, TrainingSet, WorkerRank

GIVEN = {"q0": 0, "q1": 1, "q2": 0}


def training_of(folder, examples, *, packing=False, **settings):
    student = load_student(folder, torch.float32).eval()
    if packing:
        assert use_packing(student, 1024)
    config = StudentConfig(model="tiny:0", learning_rate=1e-2, **settings)
    return StudentTraining(
        student, student, config, TrainingSet(examples, "from_weighting", 0, 0), WorkerRank(0, 1)
    )


def test_a_train_step_tells_what_it_did(tiny_folder, examples):
    training = training_of(tiny_folder, examples, learning_rate_schedule="linear")
    metrics = training.train_step([0, 1, 2], GIVEN, 0.25)
    tokens = sum(example.num_tokens() for example in examples)
    longest = max(example.num_tokens() for example in examples)
    in_loss = sum(
        step >= GIVEN[example.question_id] for example in examples for step in example.token_steps
    )
    assert metrics["tokens"] == tokens
    assert metrics["loss_tokens"] == in_loss
    assert metrics["supervised_fraction"] == pytest.approx(in_loss / tokens)
    assert metrics["padding_fraction"] == pytest.approx(1 - tokens / (3 * longest))
    assert metrics["given_steps_mean"] == pytest.approx(1 / 3)
    assert metrics["learning_rate"] == pytest.approx(0.75e-2)
    assert 0 <= metrics["token_accuracy"] <= 1


def test_a_worker_that_wants_to_leave_makes_its_update_first(tiny_folder, examples):
    training, usual = (training_of(tiny_folder, examples) for _ in range(2))
    metrics = training.train_step([0, 1, 2], GIVEN, 0.0, lambda: True)
    assert training.is_to_leave
    assert metrics == usual.train_step([0, 1, 2], GIVEN, 0.0)
    assert not usual.is_to_leave
    for ours, theirs in zip(training.student.parameters(), usual.student.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_packing_and_micro_batches_change_nothing_but_the_padding(tiny_folder, examples):
    usual = training_of(tiny_folder, examples)
    others = [
        training_of(tiny_folder, examples, packing=True),
        training_of(tiny_folder, examples, packing=True, micro_batch_tokens=1),
        training_of(tiny_folder, examples, micro_batch_tokens=1),
    ]
    for _ in range(2):
        expected = usual.train_step([0, 1, 2], GIVEN, 0.0)
        assert expected["padding_fraction"] > 0
        for other in others:
            metrics = other.train_step([0, 1, 2], GIVEN, 0.0)
            assert metrics["padding_fraction"] == 0
            for name in expected.keys() - {"padding_fraction", "shared_prefix_fraction"}:
                assert metrics[name] == pytest.approx(expected[name], rel=1e-4)


def test_a_train_step_without_a_token_in_the_loss_is_refused(tiny_folder, examples):
    unfinished = [  # cut before the answer, so that nothing is left when all steps are given
        dataclasses.replace(e.with_target(range(4)), token_steps=[0] * 4, num_steps=1)
        for e in examples
    ]
    training = training_of(tiny_folder, unfinished)
    before = [p.clone() for p in training.student.parameters()]
    with pytest.raises(KpodError, match=r"nothing of questions q0, q1 is in the loss"):
        training.train_step([0, 1], {"q0": 1, "q1": 1, "q2": 0}, 0.0)
    pairs = zip(training.student.parameters(), before, strict=True)
    assert all(torch.equal(now, then) for now, then in pairs)
    # Beside one that has some, such an example is no trouble.
    metrics = training.train_step([0, 2], {"q0": 1, "q1": 1, "q2": 0}, 0.0)
    assert metrics["loss_tokens"] == 4
    assert metrics["loss"] > 0


@pytest.mark.parametrize(
    ("learning_rate", "word"),
    [(1e38, "parameters"), (3e19, "parameters"), (1e14, "loss")],
)
def test_a_student_that_the_last_update_destroyed_is_told(
    tiny_folder, examples, learning_rate, word
):
    training = training_of(tiny_folder, examples)
    training.config = training.config.model_copy(update={"learning_rate": learning_rate})
    training.check_update([0, 1, 2], GIVEN)
    training.train_step([0, 1, 2], GIVEN, 0.0)
    with pytest.raises(KpodError, match=rf"the student's {word} .*lower student.learning_rate$"):
        training.check_update([0, 1, 2], GIVEN)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e19])
def test_one_parameter_is_enough(tiny_folder, examples, value):
    student = load_student(tiny_folder, torch.float32)
    check_finite(student, "student", "student.learning_rate")
    with torch.no_grad():
        list(student.parameters())[-1].view(-1)[-1] = value
    with pytest.raises(KpodError, match=r"^the student's parameters aren't finite; lower student"):
        check_finite(student, "student", "student.learning_rate")


def test_a_check_leaves_the_training_as_it_is(tiny_folder, examples):
    checked, plain = (training_of(tiny_folder, examples) for _ in range(2))
    for _ in range(2):
        metrics = [training.train_step([0, 1, 2], GIVEN, 0.0) for training in (checked, plain)]
        checked.check_update([0, 1, 2], GIVEN)
        assert metrics[0] == metrics[1]
        np.testing.assert_array_equal(*(np.hstack(t.step_losses()) for t in (checked, plain)))


def test_a_gradient_that_is_not_finite_leaves_the_student_as_it_is(tiny_folder, examples):
    training = training_of(tiny_folder, examples)
    with torch.no_grad():
        next(training.student.parameters())[5] = float("nan")
    before = [p.clone() for p in training.student.parameters()]
    with pytest.raises(KpodError, match=r"the gradient of questions q0, q1, q2 isn't finite"):
        training.train_step([0, 1, 2], GIVEN, 0.0)
    pairs = zip(training.student.parameters(), before, strict=True)
    assert all(torch.equal(now, then) or torch.isnan(then).any() for now, then in pairs)
