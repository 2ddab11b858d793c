"""Attention of several sequences in one row is that of each alone."""

import pytest
import torch
import torch.nn.functional as F

from kpod_ray.kernels.packed_attention import attend_on_cpu
from kpod_ray.kernels.packed_layout import place_sequences

WIDTH = 8


def drawn(num_heads, num_key_heads, num_tokens):
    torch.manual_seed(0)
    heads = num_heads, num_key_heads, num_key_heads
    return [torch.randn(1, num_tokens, h, WIDTH, requires_grad=True) for h in heads]


def one_by_one(states, lengths, scale):
    """Softmax of the scores, written out."""
    outputs = []
    for parts in zip(*(each.split(lengths, dim=1) for each in states), strict=True):
        query, key, value = (each.transpose(1, 2) for each in parts)
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
@pytest.mark.parametrize(
    ("lengths", "num_shared_prefix_tokens"), [([5, 1, 40], 0), ([5, 4, 40], 3)]
)
def test_it_is_the_softmax_of_each_sequence(heads, scale, lengths, num_shared_prefix_tokens):
    sequences = place_sequences(lengths, num_shared_prefix_tokens)
    states = drawn(*heads, sum(lengths) - 2 * num_shared_prefix_tokens)
    output = attend_on_cpu(states, sequences, scale)
    whole = [each[:, sequences.row_places] for each in states]
    expected = one_by_one(whole, lengths, WIDTH**-0.5 if scale is None else scale)
    expected = expected[:, sequences.own_places]
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    outer = torch.randn_like(output)
    ours = torch.autograd.grad(output, states, outer)
    theirs = torch.autograd.grad(expected, states, outer)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_sequence_alone_is_that_of_torch():
    states = drawn(4, 4, 46)
    output = attend_on_cpu(states, place_sequences([46], 0), None)
    heads = [each.transpose(1, 2) for each in states]
    expected = F.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2)
    torch.testing.assert_close(output, expected)
