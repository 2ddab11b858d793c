"""The keypoint mask: what it samples, what it replaces, and where its gradient goes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.algorithm.keypoint_mask import (
    LARGEST_LOGIT,
    annealed_temperature,
    bounded_logits,
    gumbel_noise,
    keypoint_loss,
    mask_embeddings,
    mean_keep_probability,
    mean_token_weight,
    relaxed_mask,
    shifted_to_rate,
    straight_through_mask,
)

NO_NOISE = torch.zeros(1, 1)


def drawn_noise(*shape):
    return gumbel_noise(torch.rand(*shape, generator=torch.Generator().manual_seed(0)))


def test_noise_by_hand():
    # ln(u / (1 - u)): odds of 1, 3 and 1/3.
    noise = gumbel_noise(torch.tensor([0.5, 0.75, 0.25]))
    assert noise.tolist() == pytest.approx([0, math.log(3), -math.log(3)], abs=1e-6)


def test_noise_is_finite_at_the_ends():
    noise = gumbel_noise(torch.tensor([0.0, 1.0]))
    assert noise.isfinite().all()
    assert noise[0] < -10 < 10 < noise[1]


def test_noise_has_the_moments_of_a_difference_of_two_gumbel_variables():
    noise = drawn_noise(200_000)
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.var().item() == pytest.approx(math.pi**2 / 3, rel=0.02)


@pytest.mark.parametrize(
    ("train_step", "num_train_steps", "first", "last", "expected"),
    [
        (0, 11, 1.0, 0.25, 1.0),
        (5, 11, 1.0, 0.25, 0.5),
        (10, 11, 1.0, 0.25, 0.25),
        (20, 11, 1.0, 0.25, 0.25),
        (0, 1, 1.0, 0.25, 1.0),
        (7, 11, 0.7, None, 0.7),
        (5, 11, 0.5, 2.0, 1.0),
    ],
)
def test_temperature_by_table(train_step, num_train_steps, first, last, expected):
    assert annealed_temperature(train_step, num_train_steps, first, last) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(1.0, 3 / 4), (0.5, 9 / 10), (2.0, math.sqrt(3) / (1 + math.sqrt(3)))],
)
def test_relaxed_mask_by_hand(temperature, expected):
    # A logit of ln 3 and no noise are odds of 3; a temperature T makes them 3^(1/T).
    mask = relaxed_mask(torch.full((1, 1), math.log(3)), NO_NOISE, temperature)
    assert mask.item() == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_relaxed_mask_is_the_gumbel_softmax_of_two_classes(temperature):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 40, generator=generator)
    gumbels = -torch.log(-torch.log(torch.rand(3, 40, 2, generator=generator)))
    weights = torch.sigmoid(logits)
    classes = torch.stack([torch.log(1 - weights), torch.log(weights)], dim=-1)
    expected = ((classes + gumbels) / temperature).softmax(-1)[..., 1]
    noise = gumbels[..., 1] - gumbels[..., 0]
    torch.testing.assert_close(relaxed_mask(logits, noise, temperature), expected)


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.8])
def test_a_token_is_kept_with_the_probability_of_its_weight(weight):
    logits = torch.full((1, 100_000), math.log(weight / (1 - weight)))
    mask = straight_through_mask(logits, drawn_noise(1, 100_000), 0.7)
    assert mask.mean().item() == pytest.approx(weight, abs=0.01)


@given(
    logits=st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=30),
    temperature=st.floats(0.1, 3),
)
@settings(max_examples=100, deadline=None)
def test_straight_through_mask_is_exactly_binary(logits, temperature):
    row = torch.tensor([logits])
    mask = straight_through_mask(row.requires_grad_(), drawn_noise(1, len(logits)), temperature)
    assert set(mask.flatten().tolist()) <= {0.0, 1.0}


def test_straight_through_mask_has_the_gradient_of_the_relaxed_one():
    logits = torch.linspace(-3, 3, 20)[None].requires_grad_()
    noise, factors = drawn_noise(1, 20), torch.arange(1.0, 21)
    gradients = [
        torch.autograd.grad((draw(logits, noise, 0.7) * factors).sum(), logits)[0]
        for draw in (straight_through_mask, relaxed_mask)
    ]
    assert gradients[0].all()
    torch.testing.assert_close(*gradients)


def test_gradient_of_the_mask_by_hand():
    # m (1 - m) / T with m = 9/10 at T = 1/2.
    logits = torch.full((1, 1), math.log(3), requires_grad=True)
    straight_through_mask(logits, NO_NOISE, 0.5).sum().backward()
    assert logits.grad.item() == pytest.approx(0.9 * 0.1 / 0.5)


def test_masked_embeddings_by_hand():
    embeddings = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [8.0, 0.0]]])
    keypoint_mask = torch.tensor([[1.0, 0.0, 0.25]])
    masked = mask_embeddings(embeddings, keypoint_mask, torch.tensor([-4.0, 8.0]))
    # Kept; replaced; a quarter of (8, 0) and three quarters of (-4, 8).
    assert masked.tolist() == [[[1, 2], [-4, 8], [-1, 6]]]


def test_gradients_reach_the_mask_and_the_vector_but_no_masked_embedding():
    embeddings = torch.ones(1, 2, 3, requires_grad=True)
    keypoint_mask = torch.tensor([[1.0, 0.0]], requires_grad=True)
    vector = torch.full((3,), 5.0, requires_grad=True)
    mask_embeddings(embeddings, keypoint_mask, vector).sum().backward()
    assert embeddings.grad.tolist() == [[[1, 1, 1], [0, 0, 0]]]
    assert keypoint_mask.grad.tolist() == [[3 - 15, 3 - 15]]
    assert vector.grad.tolist() == [1, 1, 1]


def test_mean_token_weight_by_hand():
    # Weights 1/2 and 3/4; padding with whatever logits counts nothing.
    logits = torch.tensor([[0.0, math.log(3), 99.0], [math.log(3), -99.0, math.inf]])
    exists = torch.tensor([[True, True, False], [True, False, False]])
    assert mean_token_weight(logits, exists).tolist() == pytest.approx([5 / 8, 3 / 4])


def test_mean_token_weight_of_no_tokens_is_0():
    assert mean_token_weight(torch.ones(1, 2), torch.zeros(1, 2)).tolist() == [0]


def test_keypoint_loss_by_hand():
    # (1 + 1/2 * 0.2) + (2 + 1/2 * 0.4)
    answer_nll, kept_fraction = torch.tensor([1.0, 2.0]), torch.tensor([0.2, 0.4])
    assert keypoint_loss(answer_nll, kept_fraction, 0.5).item() == pytest.approx(3.3)
    assert keypoint_loss(answer_nll, kept_fraction, 0).item() == 3


def ragged(rows, longest, seed=0, scale=5.0):
    """Random logits and a mask of rationales with 1 to ``longest`` tokens."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (rows,), generator=generator)
    token_mask = torch.arange(longest)[None] < lengths[:, None]
    return scale * torch.randn(rows, longest, generator=generator), token_mask


def test_bounded_logits_by_hand():
    # The mean is 2; padding (100) takes no part.
    bounded = bounded_logits(torch.tensor([[0.0, 4.0, 100.0]]), torch.tensor([[1, 1, 0]]))
    expected = 3 * math.tanh(2 / 3)
    assert bounded[0, :2].tolist() == pytest.approx([-expected, expected])


@given(seed=st.integers(0, 2**31), offset=st.floats(-50, 50))
@settings(max_examples=20, deadline=None)
def test_bounded_logits_forget_an_offset_and_keep_the_order(seed, offset):
    raw, token_mask = ragged(6, 20, seed, scale=0.5)
    bounded = bounded_logits(raw, token_mask)
    assert bounded[token_mask].abs().max() <= LARGEST_LOGIT
    torch.testing.assert_close(
        bounded_logits(raw + offset, token_mask)[token_mask],
        bounded[token_mask],
        rtol=0,
        atol=1e-4,
    )
    for row, own, mask in zip(raw, bounded, token_mask, strict=True):
        assert row[mask].argsort().tolist() == own[mask].argsort().tolist()


@given(seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_every_rationale_keeps_exactly_its_rate(seed):
    raw, token_mask = ragged(8, 40, seed)
    rates = 0.15 + 0.7 * torch.rand(8, generator=torch.Generator().manual_seed(seed))
    logits = bounded_logits(raw, token_mask)
    kept = mean_token_weight(shifted_to_rate(logits, token_mask, rates), token_mask)
    torch.testing.assert_close(kept, rates, rtol=0, atol=1e-5)


def test_the_ends_of_the_interval_of_the_shift_are_wide_enough():
    extreme = torch.full((2, 50), -LARGEST_LOGIT)
    extreme[:, 0] = LARGEST_LOGIT
    logits = torch.cat([extreme, -extreme])
    token_mask = torch.ones(4, 50)
    rates = torch.tensor([0.01, 0.99, 0.01, 0.99])
    kept = mean_token_weight(shifted_to_rate(logits, token_mask, rates), token_mask)
    torch.testing.assert_close(kept, rates, rtol=0, atol=1e-5)


def test_padding_has_no_influence_on_the_shift():
    raw, token_mask = ragged(4, 10)
    rates = torch.tensor([0.2, 0.4, 0.6, 0.8])
    other = torch.where(token_mask, raw, -raw + 7)
    ours, expected = (
        shifted_to_rate(bounded_logits(r, token_mask), token_mask, rates) for r in (other, raw)
    )
    torch.testing.assert_close(ours[token_mask], expected[token_mask])


def test_a_sampled_mask_keeps_the_rate_in_expectation():
    raw, token_mask = ragged(1, 30, seed=3)
    token_mask[:] = True
    logits = shifted_to_rate(bounded_logits(raw, token_mask), token_mask, torch.tensor([0.3]))
    masks = straight_through_mask(logits.expand(20_000, -1), drawn_noise(20_000, 30), 0.7)
    assert float(masks.mean()) == pytest.approx(0.3, abs=0.003)


def test_the_shift_passes_the_gradient_to_the_logits_unchanged():
    raw, token_mask = ragged(3, 8)
    logits = bounded_logits(raw, token_mask).requires_grad_()
    factors = torch.linspace(-1, 2, 24).view(3, 8)
    (factors * shifted_to_rate(logits, token_mask, torch.tensor([0.2, 0.5, 0.8]))).sum().backward()
    torch.testing.assert_close(logits.grad, factors)


def test_keep_probabilities_average_one_half_and_keep_the_order():
    raw, token_mask = ragged(6, 25)
    logits = bounded_logits(raw, token_mask)
    kept = mean_keep_probability(logits, token_mask)
    means = (kept * token_mask).sum(1) / token_mask.sum(1)
    torch.testing.assert_close(means, torch.full((6,), 0.5), rtol=0, atol=1e-5)
    for row, own, mask in zip(logits, kept, token_mask, strict=True):
        assert row[mask].argsort().tolist() == own[mask].argsort().tolist()
        assert bool(((own[mask] > 0) & (own[mask] < 1)).all())


def test_keep_probabilities_are_the_mean_over_the_rates_one_by_one():
    raw, token_mask = ragged(5, 12)
    logits = bounded_logits(raw, token_mask)
    rates = [0.15 + 0.7 * (i + 0.5) / 8 for i in range(8)]
    one_by_one = [
        torch.sigmoid(shifted_to_rate(logits, token_mask, torch.full((5,), rate))) for rate in rates
    ]
    expected = torch.stack(one_by_one).mean(0)
    kept = mean_keep_probability(logits, token_mask)
    torch.testing.assert_close(kept[token_mask], expected[token_mask])
