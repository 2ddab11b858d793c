"""The learning rate over the training: a pure function of how much of it is done."""

from __future__ import annotations

import math
from collections.abc import Callable


def learning_rate_factor(schedule: str, warmup: float) -> Callable[[float], float]:
    """Return what the learning rate is multiplied by, from the share of the training that is done.

    Args:
        schedule: ``constant``, ``linear`` or ``cosine``, after the warm-up; the last two end at 0.
        warmup: share of the training, [0, 1), in which the factor rises evenly from 0 to 1.
    """

    def factor(done: float) -> float:
        if done < warmup:
            return done / warmup
        left = max(0.0, (1 - done) / (1 - warmup))
        if schedule == "cosine":
            return (1 - math.cos(math.pi * left)) / 2
        return left if schedule == "linear" else 1.0

    return factor
