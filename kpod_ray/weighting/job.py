"""The description of a token weighter's training that the driver sends to the workers.

`WeightingJob` holds plain values and paths; every worker reads the tables from the store. Ray Train's
controller process unpickles the job, too, so this module imports neither torch nor transformers.
"""

from __future__ import annotations

import dataclasses

from kpod_ray.config import LearnedWeighting
from kpod_ray.data.prompts import Template


@dataclasses.dataclass(frozen=True)
class WeightingJob:
    """Settings and input paths of a token weighter's training.

    All paths are relative to the store's root; the paths of tables end in ``.parquet``.
    """

    weighting: LearnedWeighting
    model: str
    """Name of the student's model."""
    template: Template
    """``student.template``: how a question is rendered."""
    seed: int
    """Seed of the split, of the order of the rationales and of all random numbers of the training."""
    storage: str
    """Local path or address of the store, as `Store.open` takes it."""
    questions: str
    """Path of the table of questions."""
    rationales: str
    """Path of the table of rationales."""
    folder: str
    """Folder of the phase's artifact, which gets ``adapted.safetensors`` (the adapted predictor) and
    ``weighter.safetensors``."""
    num_threads: int
    """CPU threads of torch on each worker."""
