"""The loss scaled by probabilities (DFT) against numbers worked out by hand and against autograd."""

import math

import pytest
import torch
import torch.nn.functional as F

from kpod_ray.algorithm.loss import probability_scaled_nll, weighted_nll
from kpod_ray.kernels.linear_cross_entropy_cpu import CHUNK_TOKENS
from tests.algorithm.drawn_tokens import SEVERAL_CHUNKS, drawn


def scaled_on_full_logits(hidden, head, labels, token_weights):
    nll = F.cross_entropy(hidden @ head.T, labels, reduction="none")
    return (nll * (-nll).exp().detach() * token_weights).sum(), nll


def test_dft_by_hand():
    # The odds of the first test: P = 2/3 and 1/4, weights 1/2 and 1/4.
    #   L = 1/2 * 2/3 * ln(3/2) + 1/4 * 1/4 * ln 4. The gradients of Eq. 15, times 2/3 and 1/4:
    #   token 0: 2/3 (-1/6, 1/6);   token 1: 1/4 (-3/16, 3/16).
    hidden = torch.eye(2, requires_grad=True)
    head = torch.tensor([[math.log(2), 0], [0, math.log(3)]], requires_grad=True)
    labels, weights = torch.tensor([0, 0]), torch.tensor([0.5, 0.25])
    total, nll, _ = probability_scaled_nll(hidden, head, labels, weights)
    assert total.item() == pytest.approx(math.log(3 / 2) / 3 + math.log(4) / 16, abs=1e-6)
    assert nll.tolist() == pytest.approx([math.log(3 / 2), math.log(4)], abs=1e-6)
    total.backward()
    expected_head = torch.tensor([[-1 / 9, -3 / 64], [1 / 9, 3 / 64]])
    torch.testing.assert_close(head.grad, expected_head)
    torch.testing.assert_close(hidden.grad, expected_head.T * head.detach().diagonal())


@pytest.mark.parametrize("num_tokens", [0, 1, CHUNK_TOKENS + 1, SEVERAL_CHUNKS])
def test_dft_equals_autograd_on_full_logits(num_tokens):
    hidden, head, labels, weights = drawn(num_tokens)
    total, nll, _ = probability_scaled_nll(hidden, head, labels, weights)
    expected, expected_nll = scaled_on_full_logits(hidden, head, labels, weights)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(nll, expected_nll)
    ours = torch.autograd.grad(total / 7, [hidden, head])
    theirs = torch.autograd.grad(expected / 7, [hidden, head])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_dft_of_micro_batches_adds_up_to_the_whole_batch():
    hidden, head, labels, weights = drawn(SEVERAL_CHUNKS)
    whole, _, _ = probability_scaled_nll(hidden, head, labels, weights)
    parts = [slice(0, 300), slice(300, 301), slice(301, SEVERAL_CHUNKS)]
    total = sum(
        probability_scaled_nll(hidden[part], head, labels[part], weights[part])[0] for part in parts
    )
    torch.testing.assert_close(total, whole)
    ours = torch.autograd.grad(total, [hidden, head])
    theirs = torch.autograd.grad(whole, [hidden, head])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_dft_is_the_weighted_loss_with_probabilities_as_weights():
    hidden, head, labels, weights = drawn(40)
    _, nll, _ = weighted_nll(hidden, head, labels, weights)
    expected, _, _ = weighted_nll(hidden, head, labels, weights * torch.exp(-nll))
    total, _, _ = probability_scaled_nll(hidden, head, labels, weights)
    torch.testing.assert_close(total, expected)
    ours = torch.autograd.grad(total, [hidden, head])
    torch.testing.assert_close(ours, torch.autograd.grad(expected, [hidden, head]))


def test_dft_of_an_impossible_token_is_0_and_finite():
    hidden = torch.ones(1, 1, requires_grad=True)
    head = torch.tensor([[1000.0], [-1000.0]])
    total, nll, _ = probability_scaled_nll(hidden, head, torch.tensor([1]), torch.ones(1))
    total.backward()
    assert (total.item(), nll.item(), hidden.grad.item()) == (0, 2000, 0)


def test_dft_of_shapes_that_disagree_raises():
    hidden, head, labels, weights = drawn(4)
    with pytest.raises(ValueError, match="hidden has 4 tokens"):
        probability_scaled_nll(hidden, head, labels[:3], weights)
