"""The loss on a GPU is that of full logits there, and that of the CPU."""

import pytest
import torch
import torch.nn.functional as F

from kpod_ray.algorithm.loss import probability_scaled_nll, weighted_nll

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

NUM_TOKENS = [0, 1, 511, 512, 513, 1_101]
VOCABULARIES = [50, 8_192, 16_385, 49_152]


def drawn(num_tokens, vocabulary, dtype=torch.float32, device="cuda"):
    """Return random hidden states and head (both wanting gradients), labels and token weights."""
    generator = torch.Generator().manual_seed(num_tokens + vocabulary)
    hidden = torch.randn(num_tokens, 64, generator=generator).to(device, dtype).requires_grad_()
    head = torch.randn(vocabulary, 64, generator=generator).to(device).requires_grad_()
    labels = torch.randint(vocabulary, (num_tokens,), generator=generator)
    labels[-2:] = torch.tensor([0, vocabulary - 1])[-num_tokens:] if num_tokens else labels
    return hidden, head, labels.to(device), torch.rand(num_tokens, generator=generator).to(device)


def on_full_logits(hidden, head, labels, token_weights, is_scaled=False):
    logits = (hidden @ head.to(hidden.dtype).T).float()
    nll = F.cross_entropy(logits, labels, reduction="none")
    scales = token_weights * torch.exp(-nll).detach() if is_scaled else token_weights
    return (nll * scales).sum(), nll, logits.argmax(1) == labels


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("num_tokens", NUM_TOKENS)
@pytest.mark.parametrize("loss", [weighted_nll, probability_scaled_nll])
def test_fp32_equals_full_logits(loss, num_tokens, vocabulary):
    inputs = drawn(num_tokens, vocabulary)
    total, nll, is_top = loss(*inputs)
    expected, expected_nll, expected_top = on_full_logits(*inputs, loss is probability_scaled_nll)
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(nll, expected_nll, rtol=1e-5, atol=1e-4)
    assert torch.equal(is_top, expected_top)
    ours = torch.autograd.grad(total / 7, inputs[:2])
    theirs = torch.autograd.grad(expected / 7, inputs[:2])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_bf16_nearly_equals_full_logits(vocabulary):
    inputs = drawn(1_101, vocabulary, torch.bfloat16)
    total, nll, _ = weighted_nll(*inputs)
    expected, _, _ = on_full_logits(*inputs)
    assert (total.dtype, nll.dtype) == (torch.float32, torch.float32)
    assert total.item() == pytest.approx(expected.item(), rel=1e-3)
    ours = torch.autograd.grad(total, inputs[:2])
    theirs = torch.autograd.grad(expected, inputs[:2])
    for mine, other, parameter in zip(ours, theirs, inputs[:2], strict=True):
        assert mine.dtype == parameter.dtype
        assert (mine.float() - other.float()).norm() / other.float().norm() < 0.01


@pytest.mark.parametrize("loss", [weighted_nll, probability_scaled_nll])
def test_it_is_the_loss_of_the_cpu(loss):
    on_cpu, on_gpu = (drawn(700, 5_000, device=device) for device in ("cpu", "cuda"))
    expected, total = loss(*on_cpu)[0], loss(*on_gpu)[0]
    torch.testing.assert_close(total.cpu(), expected, rtol=1e-5, atol=1e-4)
    ours = torch.autograd.grad(total, on_gpu[:2])
    theirs = torch.autograd.grad(expected, on_cpu[:2])
    torch.testing.assert_close([g.cpu() for g in ours], list(theirs), rtol=1e-4, atol=1e-5)


def test_hidden_states_get_their_gradient_from_a_frozen_head():
    hidden, head, labels, weights = drawn(512, 49_152)
    head.requires_grad_(False)
    hidden_grad = torch.autograd.grad(weighted_nll(hidden, head, labels, weights)[0], hidden)[0]
    expected = torch.autograd.grad(on_full_logits(hidden, head, labels, weights)[0], hidden)[0]
    torch.testing.assert_close(hidden_grad, expected, rtol=1e-4, atol=1e-5)


def test_huge_logits_stay_finite():
    head = torch.tensor([[1000.0], [-1000.0]], device="cuda")
    labels, ones = torch.tensor([1], device="cuda"), torch.ones(1, device="cuda")
    assert weighted_nll(ones[:, None], head, labels, ones)[0].item() == 2000


def test_logits_that_are_no_number_give_a_loss_that_is_none():
    hidden, head, labels, weights = drawn(4, 50)
    with torch.no_grad():
        hidden[2, 3] = float("nan")
    _, nll, _ = weighted_nll(hidden, head, labels, weights)
    assert nll.isnan().tolist() == [False, False, True, False]
    assert torch.isfinite(nll[:2]).all()


def test_memory_is_that_of_one_chunk():
    inputs = drawn(4_096, 49_152, torch.bfloat16)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    weighted_nll(*inputs)[0].backward()
    logits = 512 * 49_152 * 2
    head_copies = 49_152 * 64 * (2 + 4 + 4)
    assert torch.cuda.max_memory_allocated() - before < 1.2 * (logits + head_copies)
