"""The learning rate is a function of how much of the training is done."""

import pytest
import torch
from transformers import get_scheduler

from kpod_ray.models.learning_rate import learning_rate_factor


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0.0, {0.0: 1, 0.5: 1, 1.0: 1}),
        ("constant", 0.2, {0.0: 0, 0.1: 0.5, 0.2: 1, 0.9: 1}),
        ("linear", 0.0, {0.0: 1, 0.25: 0.75, 1.0: 0}),
        ("linear", 0.2, {0.0: 0, 0.05: 0.25, 0.2: 1, 0.6: 0.5, 1.0: 0}),
        ("cosine", 0.0, {0.0: 1, 0.5: 0.5, 0.75: 0.146447, 1.0: 0}),  # (1 + cos(.75 pi)) / 2
        ("cosine", 0.5, {0.25: 0.5, 0.5: 1, 0.75: 0.5, 1.0: 0}),
    ],
)
def test_factors_by_hand(schedule, warmup, expected):
    factors = {done: learning_rate_factor(schedule, warmup, done) for done in expected}
    assert factors == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0.0, 0.03, 0.5])
def test_factors_are_those_of_transformers(schedule, warmup):
    name = "constant_with_warmup" if schedule == "constant" else schedule
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    reference = get_scheduler(name, optimizer, round(warmup * 1000), 1000).lr_lambdas[0]
    for step in range(1000):
        factor = learning_rate_factor(schedule, warmup, step / 1000)
        assert factor == pytest.approx(reference(step), abs=1e-9)
