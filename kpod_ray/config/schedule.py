"""Settings of the progressive schedule."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from kpod_ray.config.base import Config, Line


class ScheduleConfig(Config):
    """The progressive schedule (Eq. 10 to 13)."""

    num_stages: int = Field(20, ge=1, le=10_000)
    """N_e: number of training stages; one stage is one epoch."""
    order: Literal["progressive", "none", "easy_to_hard"] = "progressive"
    """``progressive`` lowers the number of given steps of each question from stage to stage. ``none``
    gives no steps at any stage. ``easy_to_hard`` gives no steps and adds whole questions, the easiest
    first, under the same ceiling."""
    full_stage: int | None = Field(None, ge=1)
    """T: stage at which the ceiling reaches the total difficulty; None is half of ``num_stages``,
    rounded down, at least 1."""
    growth: float = Field(0.5, ge=0, le=100)
    """p of Eq. 10: the ceiling grows with the power p + 1 of the stage."""
    initial_fraction: float = Field(0.3, ge=0, le=1)
    """C_0 / B of Eq. 10: ceiling of stage 0 as a fraction of the total difficulty."""
    difficulty_weights: Literal["from_weighting", "uniform"] = "from_weighting"
    """Token weights inside a reasoning step when the step's difficulty is measured (Eq. 8): the weights
    of ``weighting``, or equal weights (``uniform``)."""
    adaptive: bool = False
    """Whether every stage is planned again from the step losses of the stage before. The paper plans all
    stages before training (``false``)."""
    diversity_weight: float = Field(12.0, ge=0, le=1_000_000)
    """beta of Eq. 12: weight of the diversity term; 0 turns the term off."""
    embedding: Line | None = None
    """Vectors by which questions are clustered. None: the mean of the student's input embeddings. A
    ``.txt`` file: the mean of word vectors in GloVe's format, as in the paper. Any other text: a
    sentence encoder, given as a folder, a hub name or ``packaged:all-MiniLM-L6-v2``."""
    clustering: Literal["kmeans", "agglomerative"] = "kmeans"
    """Algorithm that clusters the questions. ``agglomerative`` (Ward's criterion) needs memory for the
    distances of all pairs of questions."""
    num_clusters: int = Field(5, ge=1, le=1_000_000)
    """K: number of question clusters."""
    step_size: int = Field(1, ge=1, le=1_000_000)
    """Delta_s of Eq. 11: number by which the given steps of a selected question fall."""
    solver: Literal["merge", "threshold"] = "merge"
    """Solver of Eq. 13: density greedy (``merge``), or falling density thresholds like the paper's FTGP
    (``threshold``)."""
    epsilon: float = Field(0.1, ge=0.0001, lt=0.5)
    """Accuracy of the ``threshold`` solver; smaller is more accurate and slower."""

    @model_validator(mode="after")
    def _check(self) -> ScheduleConfig:
        if self.full_stage is not None and self.full_stage > self.num_stages:
            raise ValueError("full_stage is larger than num_stages")
        if self.adaptive and self.order != "progressive":
            raise ValueError("adaptive needs order progressive; set order or turn adaptive off")
        return self

    @property
    def resolved_full_stage(self) -> int:
        """T: ``full_stage``, or else half of ``num_stages``, rounded down, at least 1."""
        return self.full_stage or max(1, self.num_stages // 2)
