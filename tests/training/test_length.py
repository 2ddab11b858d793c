"""How long a training is, by stages and by a token budget, against numbers worked out by hand."""

import pytest

from kpod_ray.config import StudentConfig
from kpod_ray.training.length import TrainingLength
from kpod_ray.training.progress import TrainProgress


def length_of(**settings):
    """Return the length of a training of 3 stages with 10 examples, 4 of them in a train step."""
    config = StudentConfig(model="tiny:0", global_batch_size=4, **settings)
    return TrainingLength(config, num_stages=3, num_examples=10)


def test_a_stage_passes_once_over_all_examples():
    length = length_of()
    assert length.stage_train_steps() == 3  # 4 + 4 + 2 examples
    assert length.num_train_steps() == 9


def test_the_planned_stages_are_trained_and_the_last_is_ended():
    length = length_of()
    for stage, expected in ((1, True), (3, True), (4, False)):
        assert length.is_under_way(TrainProgress(stage=stage)) == expected
    assert length.is_under_way(TrainProgress(stage=4, stage_steps=1))
    assert not length.is_used_up(TrainProgress(loss_tokens=10**9))


def test_without_a_budget_the_done_fraction_is_that_of_the_train_steps():
    length = length_of()
    assert length.done_fraction(TrainProgress(train_steps=6)) == 6 / 9
    assert length.summary(TrainProgress(train_steps=6)) == "6 of 9 train steps"


def test_with_a_budget_stages_follow_until_its_tokens_are_used_up():
    length = length_of(loss_token_budget=100)
    assert length.is_under_way(TrainProgress(stage=50, loss_tokens=99))
    assert not length.is_under_way(TrainProgress(stage=2, loss_tokens=100))
    assert length.is_under_way(TrainProgress(stage=2, stage_steps=1, loss_tokens=100))
    assert length.is_used_up(TrainProgress(loss_tokens=101))
    assert length.done_fraction(TrainProgress(train_steps=6, loss_tokens=25)) == 0.25


@pytest.mark.parametrize(
    ("settings", "loss_tokens", "expected"),
    [
        ({"accuracy_every_stages": 1}, 0, [1, 2, 3]),
        ({"accuracy_every_stages": 2}, 0, [2, 3]),  # the last stage in any case
        ({"accuracy_every_stages": 5}, 0, [3]),
        ({}, 0, []),
        ({"accuracy_every_stages": 2, "loss_token_budget": 100}, 99, [2]),
        ({"accuracy_every_stages": 2, "loss_token_budget": 100}, 100, [1, 2, 3]),
    ],
)
def test_accuracy_is_measured_every_few_stages_and_after_the_last(settings, loss_tokens, expected):
    length = length_of(validation_fraction=0.5, **settings)
    progress = [TrainProgress(stage=stage, loss_tokens=loss_tokens) for stage in (1, 2, 3)]
    assert [one.stage for one in progress if length.needs_accuracy(one)] == expected
