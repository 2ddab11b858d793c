"""The progressive schedule."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from kpod_ray.config.base import Config


class ScheduleConfig(Config):
    """The progressive schedule (Eq. 10 to 13)."""

    num_stages: int = Field(20, ge=1)
    """Training epochs; one stage is one epoch."""
    order: Literal["progressive", "none", "easy_to_hard"] = "progressive"
    """``progressive``: given steps fall question by question; ``none``: the student writes everything
    from stage 1; ``easy_to_hard``: whole questions join under the same ceiling, the easiest first."""
    full_stage: int | None = Field(None, ge=1)
    """T: stage at which the ceiling reaches the whole difficulty; None is half of num_stages."""
    growth: float = Field(0.5, ge=0)
    """p of Eq. 10: exponent of the ceiling's growth."""
    initial_fraction: float = Field(0.3, ge=0, le=1)
    """C_0 / B: share of the whole difficulty at stage 0."""
    difficulty_weights: Literal["from_weighting", "uniform"] = "from_weighting"
    """Token weights inside a reasoning step when its difficulty is measured (Eq. 8): as ``weighting``
    says, or all alike."""
    adaptive: bool = False
    """Plan every stage again from the step losses of the stage before; the paper plans once."""
    diversity_weight: float = Field(12.0, ge=0)
    """beta of Eq. 12; 0 takes no heed of diversity."""
    embedding: str | None = None
    """What question clusters are made of: None is the mean of the student's input embeddings; a file
    ``*.txt`` of word vectors (GloVe's format), as in the paper; else a sentence encoder: a folder, a
    hub name or ``packaged:all-MiniLM-L6-v2``."""
    clustering: Literal["kmeans", "agglomerative"] = "kmeans"
    """How questions are clustered; ``agglomerative`` (Ward's) holds the distances of all pairs."""
    num_clusters: int = Field(5, ge=1)
    """K: clusters of questions."""
    step_size: int = Field(1, ge=1)
    """Delta_s of Eq. 11: reasoning steps moved when a question gets harder."""
    solver: Literal["merge", "threshold"] = "merge"
    """How Eq. 13 is solved: density greedy by K-way ``merge``, or falling ``threshold`` (FTGP-like)."""
    epsilon: float = Field(0.1, gt=0, lt=0.5)
    """Accuracy of the threshold solver."""

    @model_validator(mode="after")
    def _check(self) -> ScheduleConfig:
        if self.full_stage is not None and self.full_stage > self.num_stages:
            raise ValueError("full_stage is larger than num_stages")
        if self.adaptive and self.order != "progressive":
            raise ValueError("adaptive needs order progressive; set order or turn adaptive off")
        return self

    @property
    def resolved_full_stage(self) -> int:
        """T of the paper, at least 1."""
        return self.full_stage or max(1, self.num_stages // 2)
