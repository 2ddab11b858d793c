"""The learning rate schedule as a function of the fraction of the training that is done."""

from __future__ import annotations

import math
from typing import Literal


def learning_rate_factor(
    schedule: Literal["constant", "linear", "cosine"], warmup: float, done: float
) -> float:
    """Return the factor of the largest learning rate, in [0, 1], at a point of the training.

    Args:
        schedule: the factor after the warm-up: ``constant`` stays at 1; ``linear`` and ``cosine`` (half
            a cosine wave) fall from 1 at the end of the warm-up to 0 at the end of the training.
        warmup: fraction of the training, in [0, 1), in which the factor rises linearly from 0 to 1.
        done: fraction of the training that is done, in [0, 1].
    """
    if done < warmup:
        return done / warmup
    decayed = (done - warmup) / (1 - warmup)
    if schedule == "linear":
        return 1 - decayed
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * decayed))
    return 1.0
