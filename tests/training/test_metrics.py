"""Sums of batches add up to those of the whole train step."""

import math

import pytest
import torch

from kpod_ray.data.batches import collate
from kpod_ray.data.examples import Example
from kpod_ray.models.student import LossParts
from kpod_ray.training.metrics import NUM_SUMS, StageLosses, loss_sums, step_metrics

# Two rationale tokens of weights .5 and .25, the second a keypoint, and two answer tokens.
EXAMPLE = Example(
    "q",
    [1, 2],
    [3, 4, 5, 6],
    [0.5, 0.25, 1, 1],
    [0, 1, 2, 2],
    [False, True, False, False],
    [True, True, False, False],
    2,
)
# Two rationale tokens of weights log 2 and 0 in one step, then the end.
OTHER = Example(
    "o", [1], [3, 4, 5], [math.log(2), 0.0, 1], [0, 0, 1], [False] * 3, [True, False, False], 1
)
NLL = torch.tensor([2.0, 4.0, 1.0, 3.0])
SLOTS = 8
"""WorkerRank of the computed positions among the sums."""


def parts_of(batch, token_nll):
    return LossParts(
        (token_nll * batch.token_weights).sum().requires_grad_(), token_nll, token_nll < 3
    )


def test_sums_by_hand():
    batch = collate([EXAMPLE], [0], 0)
    # .5 * 2 + .25 * 4 + 1 + 3 = 6; 2 tokens, 6 nats, weight .75, of which .25 the keypoint's; 2 tokens
    # and 4 nats; 2 below 3.
    sums = loss_sums(batch, parts_of(batch, NLL))
    assert sums.tolist() == [6, 2, 6, 0.75, 0.25, 2, 4, 2, 6, 6]
    assert len(sums) == NUM_SUMS
    assert not sums.requires_grad


def test_metrics_by_hand():
    metrics = step_metrics(torch.tensor([6, 2, 6, 0.75, 0.25, 2, 4, 1, 10, 8]), denominator=4.0)
    assert metrics == {
        "loss": 1.5,
        "rationale_loss": 3,
        "answer_loss": 2,
        "token_weight_mean": 0.375,
        "keypoint_share": pytest.approx(1 / 3),
        "token_accuracy": 0.25,
        "loss_tokens": 4,
        "supervised_fraction": 0.5,
        "padding_fraction": 0.2,
        "shared_prefix_fraction": 0,
    }


def test_tokens_that_were_not_computed_are_no_negative_padding():
    metrics = step_metrics(torch.tensor([6, 2, 6, 0.75, 0.25, 2, 4, 1, 6, 8]), denominator=4.0)
    assert metrics["padding_fraction"] == 0
    assert metrics["shared_prefix_fraction"] == 0.25
    assert metrics["supervised_fraction"] == 0.5


def test_all_steps_given_leave_rationale_metrics_at_0():
    batch = collate([EXAMPLE], [2], 0)
    sums = loss_sums(batch, parts_of(batch, NLL[2:]))
    assert sums.tolist() == [4, 0, 0, 0, 0, 2, 4, 1, 6, 6]
    assert step_metrics(sums, 2)["rationale_loss"] == 0
    assert step_metrics(sums, 2)["token_weight_mean"] == 0
    assert step_metrics(sums, 2)["keypoint_share"] == 0


def test_the_sums_of_parts_are_the_sums_of_the_whole(student, examples):
    given_steps = [1, 0, 1]
    whole = collate(examples, given_steps, 0)
    parts = [collate([e], [g], 0) for e, g in zip(examples, given_steps, strict=True)]
    total = sum(loss_sums(batch, student(batch)) for batch in parts)
    expected = loss_sums(whole, student(whole))
    assert total[SLOTS] == sum(example.num_tokens() for example in examples) < expected[SLOTS]
    total[SLOTS] = expected[SLOTS]  # all else is the same, however it is padded
    torch.testing.assert_close(total, expected, rtol=1e-6, atol=0)  # the losses are fp32


@pytest.mark.parametrize("denominator", [1.0, 4.0])
def test_nothing_in_the_loss_gives_metrics_of_0(denominator):
    assert set(step_metrics(torch.zeros(NUM_SUMS), denominator).values()) == {0}


def test_an_example_without_a_token_in_the_loss_measures_nothing():
    unfinished = Example("u", [1, 2], [3, 4], [0.5, 0.25], [0, 1], [False] * 2, [True] * 2, 2)
    losses = StageLosses([unfinished, OTHER], [unfinished.token_weights, OTHER.token_weights])
    batch = collate([unfinished, OTHER], [2, 0], 0)
    losses.add([0, 1], [2, 0], NLL[: len(batch.labels)])
    assert all(map(math.isnan, losses.means(losses.sums)[0]))
    assert not math.isnan(losses.means(losses.sums)[1][0])


def test_stage_losses_by_hand():
    # Rationale tokens 2 and 4 nats, one a step; Eq. 8 of a single token is its loss.
    losses = StageLosses([OTHER, EXAMPLE], [OTHER.token_weights, EXAMPLE.token_weights])
    losses.add([1], [1], NLL[1:])  # step 0 was given
    assert str(losses.means(losses.sums)) == "[[nan], [nan, 4.0]]"
    losses.add([1, 0], [0, 0], torch.tensor([*NLL, 3.0, 9.0, 7.0]))
    # Of OTHER, weights log 2 and 0 in one step: (2 * 3 + 1 * 9) / 3.
    assert losses.means(losses.sums) == [[pytest.approx(5)], [2, 4]]


def test_stage_losses_of_several_visits_are_their_mean_and_workers_add_up():
    one, two = (StageLosses([EXAMPLE], [EXAMPLE.token_weights]) for _ in range(2))
    one.add([0], [0], NLL)
    two.add([0, 0], [1, 0], torch.cat([NLL[1:] * 3, NLL * 2]))
    assert two.means(two.sums) == [[4, pytest.approx((12 + 8) / 2)]]
    one.sums = one.sums + two.sums
    assert one.means(one.sums) == [[3, pytest.approx((4 + 12 + 8) / 3)]]


def test_a_step_without_tokens_is_unmeasured():
    example = Example("q", [1], [3, 4], [0.5, 1], [1, 2], [False] * 2, [True, False], 2)
    losses = StageLosses([example], [example.token_weights])
    losses.add([0], [0], torch.tensor([2.0, 1.0]))
    assert str(losses.means(losses.sums)) == "[[nan, 2.0]]"
