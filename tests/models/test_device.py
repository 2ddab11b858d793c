"""The type of the arithmetic follows the setting, the device the machine."""

import pytest
import torch

from kpod_ray.models.device import compute_dtype, device


def test_types_by_hand():
    assert compute_dtype("fp32") == torch.float32
    assert compute_dtype("bf16") == torch.bfloat16
    with pytest.raises(KeyError):
        compute_dtype("fp16")


def test_the_device_holds_tensors():
    assert torch.ones(2, device=device()).sum() == 2
    assert device().type == ("cuda" if torch.cuda.is_available() else "cpu")
