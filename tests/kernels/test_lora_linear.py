"""A layer and its adapter as one operation, against peft's own layer."""

import peft
import pytest
import torch
from torch import nn

from kpod_ray.kernels.lora_linear import AdaptedLinear

WIDE, NARROW, RANK, ALPHA = 24, 16, 4, 6


def layers(*, bias=False, dtype=torch.float32):
    """peft's layer and ours, with the same random parameters."""
    torch.manual_seed(0)
    base = nn.Linear(NARROW, WIDE, bias=bias, dtype=dtype).requires_grad_(requires_grad=False)
    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0)
    theirs, ours = (
        kind(base, "default", config=config, r=RANK, lora_alpha=ALPHA).to(dtype)
        for kind in (peft.tuners.lora.Linear, AdaptedLinear)
    )
    nn.init.normal_(theirs.lora_B["default"].weight)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def gradients(layer, x):
    output = layer(x)
    wanted = [p for p in (x, *layer.parameters()) if p.requires_grad]
    return output, torch.autograd.grad((output.float() ** 2).sum(), wanted)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(NARROW,), (5, NARROW), (2, 3, NARROW), (0, NARROW)])
@pytest.mark.parametrize("is_first", [False, True])
def test_output_and_gradients_are_those_of_peft(bias, shape, is_first):
    theirs, ours = layers(bias=bias)
    x = torch.randn(shape, requires_grad=not is_first)
    expected, expected_gradients = gradients(theirs, x)
    output, found = gradients(ours, x)
    assert len(found) == 2 + (not is_first)  # none for the frozen weight
    torch.testing.assert_close(output, expected)
    for mine, other in zip(found, expected_gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_finite_differences():
    _, ours = layers(dtype=torch.float64)
    x = torch.randn(3, NARROW, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: ours(x), (x, *ours.parameters()))


def test_bf16_arithmetic_is_nearly_that_of_peft_and_gradients_stay_fp32():
    theirs, ours = layers()
    x = torch.randn(50, NARROW, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, expected_gradients = gradients(theirs, x)
        output, found = gradients(ours, x)
    assert output.dtype == expected.dtype == torch.bfloat16
    for mine, other in zip((output, *found), (expected, *expected_gradients), strict=True):
        error = (mine.float() - other.float()).norm() / other.float().norm()
        assert error < 0.02
    assert all(gradient.dtype == torch.float32 for gradient in found)


def test_a_merged_layer_gives_what_it_gave_before():
    _, ours = layers(bias=True)
    x = torch.randn(5, NARROW)
    expected = ours(x)
    ours.merge()
    torch.testing.assert_close(ours(x), expected)
    torch.testing.assert_close(ours.get_base_layer()(x), expected)


def test_fewer_tensors_of_the_size_of_the_output_are_made():
    def num_made(layer):
        x = torch.randn(50, NARROW, requires_grad=True)
        with torch.profiler.profile(profile_memory=True) as profile:
            layer(x).sum().backward()
        return sum(
            max(0, event.self_device_memory_usage or event.self_cpu_memory_usage)
            for event in profile.key_averages()
        )

    theirs, ours = layers()
    assert num_made(ours) < 0.8 * num_made(theirs)
