"""Settings of a sweep: the search space, the search and the early stopping of trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from kpod_ray.config.base import Config

Value = bool | int | float | str | None
Positive = Annotated[float, Field(gt=0)]
OBJECTIVES: dict[str, Literal["min", "max"]] = {
    "validation_loss": "min",
    "validation_token_accuracy": "max",
    "validation_accuracy": "max",
}
"""Metrics that a sweep can optimize, with the direction of improvement."""
FIXED = ("name", "storage", "evaluation", "comparison", "resources", "tracking", "sweep")
"""Settings that no trial may change, because these don't change the student, or change how the student
is measured."""
_INCOMPARABLE = (
    "seed",
    "student.validation_fraction",
    "student.accuracy_every_stages",
    "student.seed",
)
"""Settings of which trials with different values can't be compared."""


class Domain(Config):
    """Values that a sweep may give to one setting. Exactly one of the four fields is set."""

    uniform: tuple[float, float] | None = None
    """Lowest and highest number, sampled uniformly."""
    loguniform: tuple[Positive, Positive] | None = None
    """Lowest and highest number, sampled uniformly on a logarithmic scale."""
    randint: tuple[int, int] | None = None
    """Lowest and highest whole number, both included, sampled uniformly."""
    choice: tuple[Value, ...] | None = Field(None, min_length=1)
    """List of different values to choose from."""

    @model_validator(mode="after")
    def _check_kind(self) -> Domain:
        kinds = [self.uniform, self.loguniform, self.randint, self.choice]
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("give exactly one of uniform, loguniform, randint, choice")
        bounds = self.uniform or self.loguniform or self.randint
        if bounds is not None and not bounds[0] < bounds[1]:
            raise ValueError("the lowest value is not below the highest")
        values = [(type(value) is bool, value) for value in self.choice or ()]  # True equals 1
        if len(set(values)) < len(values):
            raise ValueError("choice lists a value twice; remove one")
        return self

    def ends(self) -> tuple[Value, Value]:
        """Return the two ends of the domain: lowest and highest number, or first and last choice."""
        values: Sequence[Value] = (
            self.uniform or self.loguniform or self.randint or self.choice or ()
        )
        return values[0], values[-1]

    def probes(self) -> list[Value]:
        """Return every choice, or both bounds and a number between them that is no whole number."""
        if self.choice is not None:
            return list(self.choice)
        low, high = self.ends()
        bounds = self.uniform or self.loguniform
        return [low, high, *([bounds[0] + (bounds[1] - bounds[0]) / 2.718] if bounds else [])]


class SweepConfig(Config):
    """A search for good settings. A trial is a run with sampled settings.

    Trials are compared on the validation set (``student.validation_fraction``), never on test questions.
    """

    space: dict[str, Domain] = Field(default_factory=dict)
    """Search space: dotted path of a setting -> values to try, as ``{uniform: [0, 24]}``,
    ``{loguniform: [1e-6, 1e-4]}``, ``{randint: [2, 12]}`` or ``{choice: [2, 5, 10]}``. Every setting
    that changes the student is allowed."""
    objective: Literal["validation_loss", "validation_token_accuracy", "validation_accuracy"] = (
        "validation_loss"
    )
    """Metric that the sweep optimizes. ``validation_accuracy`` needs
    ``student.accuracy_every_stages``."""
    search: Literal["optuna", "random", "grid"] = "optuna"
    """Search algorithm: ``optuna`` learns from earlier trials, ``random`` samples independently,
    ``grid`` tries every combination of choices once."""
    num_trials: int = Field(16, ge=1, le=100_000)
    """Number of trials. A ``grid`` ignores this setting and tries all combinations."""
    num_seeds: int = Field(1, ge=1, le=10_000)
    """Trainings of each trial. The first has the config's training seed (``student.seed``, or else
    ``seed``), the others the next whole numbers. The objective is their mean; early stopping uses the
    first training only."""
    early_stopping: Literal["asha", "median", "none"] = "asha"
    """Rule that stops trials early. ``asha`` stops trials that aren't among the best ones at a rung
    (``reduction_factor``); ``median`` stops trials that are worse than the median of the other trials'
    means; ``none`` stops no trial."""
    grace_fraction: float = Field(0.125, gt=0, le=1)
    """Fraction of the stages that every trial completes before early stopping applies."""
    reduction_factor: float = Field(4.0, ge=1.1, le=1_000_000)
    """With ``asha``: one in this many trials continues at each rung, and the number of stages up to the
    next rung grows by this factor."""
    max_concurrent: int | None = Field(None, ge=1, le=100_000)
    """Most trials that run at the same time; None runs as many as fit on the cluster."""

    @model_validator(mode="after")
    def _check_space(self) -> SweepConfig:
        for path, domain in self.space.items():
            _check_path(path)
            if self.search == "grid" and domain.choice is None:
                raise ValueError(f"{path}: a grid needs choices; give choice or another search")
        return self


def _check_path(path: str) -> None:
    group = path.partition(".")[0]
    if group in FIXED:
        raise ValueError(f"{path}: a trial may not change {group}")
    if path in _INCOMPARABLE:
        raise ValueError(
            f"{path}: trials with different values can't be compared; set it outside sweep.space"
        )
