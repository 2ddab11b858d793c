"""The learning rate is a function of how much of the training is done."""

import pytest

from kpod_ray.training.trainer import learning_rate_factor


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
    factor = learning_rate_factor(schedule, warmup)
    assert {done: factor(done) for done in expected} == pytest.approx(expected, abs=1e-6)
