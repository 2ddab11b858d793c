"""The learning rate over the training: a pure function of how much of it is done."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import get_scheduler

_TICKS = 1_000_000
"""Steps that the library's schedules divide the training into."""


def learning_rate_factor(schedule: str, warmup: float) -> Callable[[float], float]:
    """Return what the learning rate is multiplied by, from the share of the training that is done.

    Args:
        schedule: ``constant``, ``linear`` or ``cosine``, after the warm-up; the last two end at 0.
        warmup: share of the training, [0, 1), in which the factor rises evenly from 0 to 1.
    """
    name = "constant_with_warmup" if schedule == "constant" else schedule
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)  # only carries the library's schedule
    factor = get_scheduler(name, optimizer, round(warmup * _TICKS), _TICKS).lr_lambdas[0]
    return lambda done: float(factor(round(done * _TICKS)))
