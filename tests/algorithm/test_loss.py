"""Eq. 15 against numbers worked out by hand and against autograd on full logits."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from kpod_ray.algorithm.loss import probability_scaled_nll, weighted_nll, with_full_logits
from kpod_ray.kernels.linear_cross_entropy_cpu import BLOCK_ROWS, CHUNK_TOKENS
from tests.algorithm.drawn_tokens import SEVERAL_CHUNKS, drawn


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation returns."""

    num_elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.num_elements = max(self.num_elements, result.numel())
        return result


def on_full_logits(hidden, head, labels, token_weights):
    logits = (hidden @ head.to(hidden.dtype).T).float()
    nll = F.cross_entropy(logits, labels, reduction="none")
    return (nll * token_weights).sum(), nll


def test_eq_15_by_hand():
    # Hidden states are unit vectors, so token i's logits are column i of the head:
    #   token 0: (ln 2, 0), odds 2 : 1, so P(0) = 2/3;   token 1: (0, ln 3), odds 1 : 3, so P(0) = 1/4.
    # Both labels are 0. With weights 1/2 and 1/4:
    #   L = 1/2 ln(3/2) + 1/4 ln 4 = ln sqrt(3/2 * 2) = 1/2 ln 3.
    head = torch.tensor([[math.log(2), 0], [0, math.log(3)]])
    weights = torch.tensor([0.5, 0.25])
    total, nll, _ = weighted_nll(torch.eye(2), head, torch.tensor([0, 0]), weights)
    assert total.item() == pytest.approx(math.log(3) / 2, abs=1e-6)
    assert nll.tolist() == pytest.approx([math.log(3 / 2), math.log(4)], abs=1e-6)


def test_gradients_of_eq_15_by_hand():
    # As above. dL/dlogits = w (p - onehot(label)):
    #   token 0: 1/2 (2/3 - 1, 1/3) = (-1/6, 1/6);   token 1: 1/4 (1/4 - 1, 3/4) = (-3/16, 3/16).
    # Head: these are its columns, as hidden is the identity. Hidden: each row times the head, whose
    # diagonal is (ln 2, ln 3): (-1/6 ln 2, 1/6 ln 3) and (-3/16 ln 2, 3/16 ln 3).
    hidden = torch.eye(2, requires_grad=True)
    head = torch.tensor([[math.log(2), 0], [0, math.log(3)]], requires_grad=True)
    total, _, _ = weighted_nll(hidden, head, torch.tensor([0, 0]), torch.tensor([0.5, 0.25]))
    total.backward()
    expected_head = torch.tensor([[-1 / 6, -3 / 16], [1 / 6, 3 / 16]])
    torch.testing.assert_close(head.grad, expected_head)
    torch.testing.assert_close(hidden.grad, expected_head.T * head.detach().diagonal())


def test_weights_of_one_give_cross_entropy():
    hidden, head, labels, _ = drawn(SEVERAL_CHUNKS)
    total, _, _ = weighted_nll(hidden, head, labels, torch.ones(SEVERAL_CHUNKS))
    expected = F.cross_entropy(hidden @ head.T, labels, reduction="sum")
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize(
    "num_tokens", [0, 1, CHUNK_TOKENS - 1, CHUNK_TOKENS, CHUNK_TOKENS + 1, SEVERAL_CHUNKS]
)
def test_loss_and_gradients_equal_autograd_on_full_logits(num_tokens):
    hidden, head, labels, weights = drawn(num_tokens)
    total, nll, _ = weighted_nll(hidden, head, labels, weights)
    expected, expected_nll = on_full_logits(hidden, head, labels, weights)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(nll, expected_nll)
    # An outer factor, as dividing by a denominator has one.
    gradients = torch.autograd.grad(total / 7, [hidden, head])
    for ours, theirs in zip(
        gradients, torch.autograd.grad(expected / 7, [hidden, head]), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_tokens", [0, 1, SEVERAL_CHUNKS])
@pytest.mark.parametrize("token_loss", [weighted_nll, probability_scaled_nll])
def test_full_logits_and_chunks_of_them_give_the_same(token_loss, num_tokens):
    hidden, head, labels, weights = drawn(num_tokens)
    total, nll, is_top = token_loss(hidden, head, labels, weights)
    expected, expected_nll, expected_top = with_full_logits(token_loss)(
        hidden, head, labels, weights
    )
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(nll, expected_nll)
    assert torch.equal(is_top, expected_top)
    assert not expected_nll.requires_grad
    ours, theirs = (torch.autograd.grad(each / 7, [hidden, head]) for each in (total, expected))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("vocabulary", [BLOCK_ROWS, BLOCK_ROWS + 1, 2 * BLOCK_ROWS + 77])
def test_a_head_of_several_blocks_gives_what_a_whole_one_gives(vocabulary):
    hidden, head, labels, weights = drawn(20, vocabulary=vocabulary)
    labels[:2] = torch.tensor([0, vocabulary - 1])
    total, nll, _ = weighted_nll(hidden, head, labels, weights)
    expected, expected_nll = on_full_logits(hidden, head, labels, weights)
    torch.testing.assert_close(nll, expected_nll)
    gradients = torch.autograd.grad(total, [hidden, head])
    for ours, theirs in zip(gradients, torch.autograd.grad(expected, [hidden, head]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("vocabulary", [50, 2 * BLOCK_ROWS + 77])
def test_bf16_hidden_states_give_nearly_the_gradients_of_autograd(vocabulary):
    hidden, head, labels, weights = drawn(
        SEVERAL_CHUNKS, vocabulary=vocabulary, dtype=torch.bfloat16
    )
    total, nll, _ = weighted_nll(hidden, head, labels, weights)
    expected, _ = on_full_logits(hidden, head, labels, weights)
    assert (total.dtype, nll.dtype) == (torch.float32, torch.float32)
    assert total.item() == pytest.approx(expected.item(), rel=1e-3)
    ours = torch.autograd.grad(total, [hidden, head])
    theirs = torch.autograd.grad(expected, [hidden, head])
    for mine, other, parameter in zip(ours, theirs, [hidden, head], strict=True):
        assert mine.dtype == parameter.dtype
        error = (mine.float() - other.float()).norm() / other.float().norm()
        assert error < 0.01


def test_tokens_of_weight_0_change_no_gradient():
    hidden, head, labels, weights = drawn(60)
    weights[::3] = 0
    total, _, _ = weighted_nll(hidden, head, labels, weights)
    hidden_grad, head_grad = torch.autograd.grad(total, [hidden, head])
    assert not hidden_grad[::3].any()
    assert hidden_grad[1::3].any(dim=1).all()
    kept = weights > 0
    alone, _, _ = weighted_nll(hidden[kept], head, labels[kept], weights[kept])
    torch.testing.assert_close(head_grad, torch.autograd.grad(alone, head)[0])


@given(cuts=st.lists(st.integers(0, 700), max_size=4), seed=st.integers(0, 3))
@settings(max_examples=8, deadline=None)
def test_micro_batches_add_up_to_the_whole_batch(cuts, seed):
    hidden, head, labels, weights = drawn(700, seed=seed)
    whole, _, _ = weighted_nll(hidden, head, labels, weights)
    bounds = [0, *sorted(cuts), 700]
    total = torch.tensor(0.0)
    for part in map(slice, bounds[:-1], bounds[1:]):
        total = total + weighted_nll(hidden[part], head, labels[part], weights[part])[0]
    torch.testing.assert_close(total, whole)
    for ours, theirs in zip(
        torch.autograd.grad(total, [hidden, head]),
        torch.autograd.grad(whole, [hidden, head]),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frozen", [0, 1], ids=["hidden", "head"])
def test_what_is_frozen_gets_no_gradient_and_the_other_the_same(frozen):
    inputs = drawn(30)
    total, _, _ = weighted_nll(*inputs)
    expected = torch.autograd.grad(total, inputs[1 - frozen])[0]
    inputs[frozen].requires_grad_(False)
    weighted_nll(*inputs)[0].backward()
    assert inputs[frozen].grad is None
    torch.testing.assert_close(inputs[1 - frozen].grad, expected)


def test_token_weights_get_no_gradient():
    hidden, head, labels, weights = drawn(5)
    weights.requires_grad_()
    total, nll, _ = weighted_nll(hidden, head, labels, weights)
    total.backward()
    assert weights.grad is None
    assert not nll.requires_grad


def test_a_second_derivative_is_refused():
    hidden, head, labels, weights = drawn(5)
    total, _, _ = weighted_nll(hidden, head, labels, weights)
    (gradient,) = torch.autograd.grad(total.square(), hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_huge_logits_stay_finite():
    head = torch.tensor([[1000.0], [-1000.0]])
    total, _, _ = weighted_nll(torch.ones(1, 1), head, torch.tensor([1]), torch.ones(1))
    assert total.item() == 2000


def test_logits_of_all_tokens_never_exist_at_once():
    hidden, head, labels, weights = drawn(SEVERAL_CHUNKS)
    with LargestTensor() as largest:
        weighted_nll(hidden, head, labels, weights)[0].backward()
    assert largest.num_elements == CHUNK_TOKENS * len(head)


def test_without_gradients_only_the_logits_are_computed():
    hidden, head, labels, weights = drawn(40)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        weighted_nll(hidden, head, labels, weights)
    assert flops.get_total_flops() == 2 * hidden.numel() * len(head)


@pytest.mark.parametrize(
    ("hidden", "head", "labels", "weights"),
    [
        ((4, 3), (7, 3), (5,), (4,)),
        ((4, 3), (7, 3), (4,), (5,)),
        ((4, 3), (7, 3), (4, 1), (4,)),
        ((4, 3), (7, 3), (4,), (1,)),
        ((4, 3), (7, 2), (4,), (4,)),
        ((4, 3), (3,), (4,), (4,)),
        ((1, 4, 3), (7, 3), (4,), (4,)),
    ],
)
def test_shapes_that_disagree_raise(hidden, head, labels, weights):
    with pytest.raises(ValueError, match=r"hidden|unpack"):
        weighted_nll(
            torch.zeros(hidden),
            torch.zeros(head),
            torch.zeros(labels, dtype=torch.long),
            torch.ones(weights),
        )
