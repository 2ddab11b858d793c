"""The device and the floating-point type that models are computed with."""

from __future__ import annotations

import torch


def device() -> torch.device:
    """Return the current GPU of this process, or the CPU if the process sees no GPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype(precision: str) -> torch.dtype:
    """Return the torch type of the precision ``fp32`` or ``bf16``; others raise a `KeyError`."""
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
