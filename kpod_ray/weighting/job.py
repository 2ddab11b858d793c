"""What Ray Train hands to its workers.

Ray Train's controller, a process of its own, reads it as well. So this module imports nothing large: a
worker alone loads the libraries that it trains with, and every training starts seconds sooner.
"""

from __future__ import annotations

import dataclasses

from kpod_ray.config import LearnedWeighting
from kpod_ray.data.prompts import Template


@dataclasses.dataclass(frozen=True)
class WeightingJob:
    """Everything a worker needs to know; plain values."""

    weighting: LearnedWeighting
    model: str
    template: Template
    seed: int
    storage: str
    questions: str
    """Path in the store of the table of questions."""
    rationales: str
    """Path in the store of the table of rationales."""
    folder: str
    """Folder in the store to write to."""
    num_threads: int
