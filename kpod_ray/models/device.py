"""The device and the number format that models are computed with on this machine."""

from __future__ import annotations

import torch


def device() -> torch.device:
    """Return this process's GPU, the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype(precision: str) -> torch.dtype:
    """Return the type of a model's arithmetic under a ``precision`` setting, ``fp32`` or ``bf16``."""
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
