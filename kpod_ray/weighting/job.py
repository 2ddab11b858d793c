"""The description of the token weighters' training that the driver sends to the workers.

`WeightingJob` holds plain values and paths; every worker reads the tables from the store. Ray Train's
controller process unpickles the job, too, so this module imports neither torch nor transformers.
"""

from __future__ import annotations

import dataclasses

from kpod_ray.config import LearnedWeighting
from kpod_ray.data.prompts import Template


@dataclasses.dataclass(frozen=True)
class WeightingJob:
    """Settings and input paths of the training of all token weighters.

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
    """Folder of the phase's artifact, which gets the files of the weighters."""
    num_threads: int
    """CPU threads of torch on each worker."""
    split_newlines: bool
    """Whether newlines end reasoning steps."""

    @property
    def num_train_steps(self) -> int:
        """Planned number of train steps of the adaptations and trainings of all weighters."""
        return self.first_train_step(self.weighting.num_seeds)

    def first_train_step(self, index: int) -> int:
        """Return the planned number of train steps before the adaptation for weighter ``index``."""
        return index * (self.weighting.num_adapt_steps + self.weighting.num_train_steps)

    def path(self, name: str) -> str:
        """Return the path of a file of the artifact."""
        return f"{self.folder}/{name}"

    @staticmethod
    def adapted(index: int) -> str:
        """Return the name of the file of the adapted predictor of weighter ``index``."""
        return f"adapted-{index}.safetensors"

    @staticmethod
    def weighter(index: int) -> str:
        """Return the name of the file of the parameters of weighter ``index``."""
        return f"weighter-{index}.safetensors"

    @staticmethod
    def finished(index: int) -> str:
        """Return the name of the file of the progress of weighter ``index`` after its training."""
        return f"progress-{index}.json"
