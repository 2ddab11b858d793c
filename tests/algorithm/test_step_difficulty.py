"""Eq. 8 against numbers worked out by hand and against its definition."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.algorithm.step_difficulty import step_difficulties


def test_eq_8_by_hand():
    # Step 0: weights 0 and ln 2, so e^w = 1 and 2, so w^ = 1/3 and 2/3: d = 3/3 + 2 * 6/3 = 5.
    # Step 1: one token, so w^ = 1 whatever its weight: d = 4. The steps' tokens are interleaved.
    nll = torch.tensor([3.0, 4.0, 6.0])
    weights = torch.tensor([0.0, 0.9, math.log(2)])
    difficulties = step_difficulties(nll, weights, torch.tensor([0, 1, 0]), 2)
    assert difficulties.dtype == torch.float32
    assert difficulties.tolist() == pytest.approx([5, 4])


def test_difficulty_does_not_grow_with_the_length_of_a_step():
    nll, weights = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([0.2, 0.5, 0.9])
    once = step_difficulties(nll, weights, torch.zeros(3, dtype=torch.long), 1)
    tenfold = step_difficulties(
        nll.repeat(10), weights.repeat(10), torch.zeros(30, dtype=torch.long), 1
    )
    torch.testing.assert_close(once, tenfold)


@pytest.mark.parametrize("weight", [0.001, 0.5, 0.999])
def test_equal_weights_give_the_mean_loss_of_each_step(weight):
    nll, steps = torch.tensor([1.0, 2.0, 6.0, 5.0]), torch.tensor([0, 0, 0, 1])
    difficulties = step_difficulties(nll, torch.full((4,), weight), steps, 2)
    assert difficulties.tolist() == pytest.approx([3, 5])


def test_a_step_without_tokens_has_difficulty_0():
    one = torch.ones(1)
    assert step_difficulties(one, one, torch.tensor([1]), 3).tolist() == [0, 1, 0]
    nothing = torch.zeros(0)
    assert step_difficulties(nothing, nothing, nothing.long(), 2).tolist() == [0, 0]


@given(
    tokens=st.lists(
        st.tuples(st.floats(0, 20), st.floats(0.01, 0.99), st.integers(0, 3)), min_size=1
    )
)
@settings(max_examples=100, deadline=None)
def test_difficulties_are_the_softmax_weighted_means_of_their_own_steps(tokens):
    nll, weights, steps = (torch.tensor(column) for column in zip(*tokens, strict=True))
    difficulties = step_difficulties(nll, weights, steps, 4)
    for step in range(4):
        inside = steps == step
        expected = (weights[inside].double().softmax(0) * nll[inside].double()).sum()
        assert difficulties[step].item() == pytest.approx(expected.item(), abs=1e-4)


@pytest.mark.parametrize("changed", range(3))
def test_difficulty_of_shapes_that_disagree_raises(changed):
    arguments = [torch.ones(4), torch.ones(4), torch.zeros(4, dtype=torch.long)]
    arguments[changed] = arguments[changed][:3]
    with pytest.raises(ValueError, match="shape"):
        step_difficulties(*arguments, 1)
