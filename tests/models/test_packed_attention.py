"""Attention of several sequences in one row is that of each alone."""

import pytest
import torch
import torch.nn.functional as F

from kpod_ray.data.packed_batches import place_sequences
from kpod_ray.models.packed_attention import attend_on_cpu, separate, unite

LENGTHS = [5, 1, 40]
WIDTH = 8


def drawn(num_heads, num_key_heads):
    torch.manual_seed(0)
    heads = num_heads, num_key_heads, num_key_heads
    return [torch.randn(1, h, sum(LENGTHS), WIDTH, requires_grad=True) for h in heads]


def one_by_one(states, scale):
    """Softmax of the scores, written out."""
    outputs = []
    for query, key, value in zip(*(each.split(LENGTHS, dim=2) for each in states), strict=True):
        group = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
        scores = query @ key.transpose(2, 3) * scale
        length = query.shape[2]
        is_later = torch.ones(length, length, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(is_later, float("-inf")).softmax(-1)
        outputs.append((weights @ value).transpose(1, 2))
    return torch.cat(outputs, 1)


@pytest.mark.parametrize("heads", [(4, 4), (6, 2), (3, 1)])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_it_is_the_softmax_of_each_sequence(heads, scale):
    states = drawn(*heads)
    output = attend_on_cpu(states, LENGTHS, scale)
    expected = one_by_one(states, WIDTH**-0.5 if scale is None else scale)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    outer = torch.randn_like(output)
    ours = torch.autograd.grad(output, states, outer)
    theirs = torch.autograd.grad(expected, states, outer)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_sequence_alone_is_that_of_torch():
    states = drawn(4, 4)
    output = attend_on_cpu(states, [sum(LENGTHS)], None)
    expected = F.scaled_dot_product_attention(*states, is_causal=True).transpose(1, 2)
    torch.testing.assert_close(output, expected)


def test_what_is_shared_is_given_to_every_sequence_and_united_again():
    row = torch.arange(6.0).requires_grad_()  # 0 1 are shared; then 2, and 3 4 5
    sequences = place_sequences([3, 5], 2)
    whole = separate(row.view(1, 1, 6, 1), sequences)
    assert whole.flatten().tolist() == [0, 1, 2, 0, 1, 3, 4, 5]
    (grad,) = torch.autograd.grad(whole.flatten() @ torch.arange(8.0), row)
    assert grad.tolist() == [0 + 3, 1 + 4, 2, 5, 6, 7]
    output = whole.detach().transpose(1, 2).requires_grad_()
    united = unite(output, sequences)
    assert united.shape == (1, 6, 1, 1)
    assert torch.equal(united.flatten(), row)
    (grad,) = torch.autograd.grad(united.flatten() @ torch.arange(6.0), output)
    assert grad.flatten().tolist() == [0, 1, 2, 0, 0, 3, 4, 5]


def test_where_nothing_is_shared_a_row_is_its_sequences():
    states = torch.rand(1, 2, 6, 4)
    sequences = place_sequences([2, 4], 0)
    assert separate(states, sequences) is states
    assert unite(states, sequences) is states
