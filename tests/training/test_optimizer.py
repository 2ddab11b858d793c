"""The student's optimizer against torch's own AdamW and rates worked out by hand."""

import copy

import pytest
import torch

from kpod_ray.config import StudentConfig
from kpod_ray.training.optimizer import build_optimizer, learning_rate_at, update

CONFIG = StudentConfig(
    model="tiny:0",
    learning_rate=0.5,
    weight_decay=0.1,
    learning_rate_schedule="linear",
    warmup=0.25,
)


def test_updates_are_those_of_adamw_whose_state_is_made_in_its_first_update():
    torch.manual_seed(0)
    ours = torch.nn.Linear(3, 2)
    ours.bias.requires_grad_(False)
    theirs = copy.deepcopy(ours)
    optimizer = build_optimizer(ours, CONFIG)
    reference = torch.optim.AdamW(theirs.parameters(), lr=0.5, weight_decay=0.1)
    assert set(optimizer.state) == {ours.weight}
    for rate in (0.5, 0.125):
        inputs = torch.randn(4, 3)
        ours(inputs).square().sum().backward()
        theirs(inputs).square().sum().backward()
        update(optimizer, rate)
        reference.param_groups[0]["lr"] = rate
        reference.step()
        reference.zero_grad()
        torch.testing.assert_close(ours.weight, theirs.weight)
        assert ours.weight.grad is None
    assert torch.equal(ours.bias, theirs.bias)


@pytest.mark.parametrize(
    ("done", "rate"), [(0, 0), (0.125, 0.25), (0.25, 0.5), (0.625, 0.25), (0.85, 0.1)]
)
def test_the_learning_rate_rises_in_the_warmup_and_falls_to_0_at_the_end(done, rate):
    assert learning_rate_at(done, CONFIG) == pytest.approx(rate)
