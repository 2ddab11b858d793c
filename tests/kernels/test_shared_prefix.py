"""A shared prefix is given to every sequence, and kept once again; gradients add up."""

import torch

from kpod_ray.kernels.packed_attention import merge_prefix, repeat_prefix
from kpod_ray.kernels.packed_layout import place_sequences


def test_a_prefix_is_given_to_every_sequence_and_merged_again():
    row = torch.arange(6.0).requires_grad_()  # 0 1 are shared; then 2, and 3 4 5
    sequences = place_sequences([3, 5], 2)
    whole = repeat_prefix(row.view(1, 6, 1, 1), sequences)
    assert whole.flatten().tolist() == [0, 1, 2, 0, 1, 3, 4, 5]
    (grad,) = torch.autograd.grad(whole.flatten() @ torch.arange(8.0), row)
    assert grad.tolist() == [0 + 3, 1 + 4, 2, 5, 6, 7]
    output = whole.detach().requires_grad_()
    united = merge_prefix(output, sequences)
    assert united.shape == (1, 6, 1, 1)
    assert torch.equal(united.flatten(), row)
    (grad,) = torch.autograd.grad(united.flatten() @ torch.arange(6.0), output)
    assert grad.flatten().tolist() == [0, 1, 2, 0, 0, 3, 4, 5]


def test_where_nothing_is_shared_a_row_is_its_sequences():
    states, sequences = torch.rand(1, 6, 2, 4, requires_grad=True), place_sequences([2, 4], 0)
    for again in (repeat_prefix(states, sequences), merge_prefix(states, sequences)):
        assert torch.equal(again, states)
        (grad,) = torch.autograd.grad(again.sum(), states)
        assert torch.equal(grad, torch.ones_like(states))
