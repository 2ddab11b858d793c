"""The check that the parameters of a model in training are finite."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from kpod_ray.errors import KpodError


def check_finite(module: nn.Module, owner: str, setting: str) -> None:
    """Check that the Euclidean norm of all parameters of a module is finite.

    Parameters whose squares float32 can't hold (beyond about 1e19) aren't finite, either: layers square
    their values, so such a model computes nothing but NaN. ``module`` may be sharded or wrapped in DDP;
    if it is sharded, all workers must call this function. ``owner`` and ``setting``, such as ``student``
    and ``student.learning_rate``, are named in the message.

    Raises:
        KpodError: The norm isn't finite; on all workers alike.
    """
    norm = torch.nn.utils.get_total_norm(module.parameters())
    whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
    if not bool(whole.isfinite()):
        raise KpodError(f"the {owner}'s parameters aren't finite; lower {setting}")
