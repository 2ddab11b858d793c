"""A sweep over settings: trials share whatever their settings don't change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from kpod_ray.config.base import Config

Value = bool | int | float | str | None
Positive = Annotated[float, Field(gt=0)]
OBJECTIVES: dict[str, Literal["min", "max"]] = {
    "validation_loss": "min",
    "validation_token_accuracy": "max",
    "validation_accuracy": "max",
}
"""What a sweep can be about, and which way is better."""
FIXED = ("name", "storage", "evaluation", "comparison", "resources", "tracking", "sweep")
"""Groups of settings that no trial may change: they change no student, or what it is measured by."""


def _number(value: object) -> object:
    """Read 1e-5 as a number, which YAML takes for a text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


class Domain(Config):
    """What one setting may be: one of these four."""

    uniform: tuple[float, float] | None = None
    """Any number between the lowest and the highest."""
    loguniform: tuple[Positive, Positive] | None = None
    """Any number between the lowest and the highest, evenly over orders of magnitude."""
    randint: tuple[int, int] | None = None
    """Any whole number from the lowest to the highest."""
    choice: tuple[Annotated[Value, BeforeValidator(_number)], ...] | None = Field(
        None, min_length=1
    )
    """One of these values."""

    @model_validator(mode="after")
    def _check_kind(self) -> Domain:
        kinds = [self.uniform, self.loguniform, self.randint, self.choice]
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("give one of uniform, loguniform, randint, choice")
        bounds = self.uniform or self.loguniform or self.randint
        if bounds is not None and not bounds[0] < bounds[1]:
            raise ValueError("the lowest value is not below the highest")
        return self

    def ends(self) -> tuple[Value, Value]:
        """Return two values far apart."""
        values: Sequence[Value] = (
            self.uniform or self.loguniform or self.randint or self.choice or ()
        )
        return values[0], values[-1]


class SweepConfig(Config):
    """What ``kpod sweep`` tries.

    Trials are judged by questions that are held out of training (``student.validation_fraction``),
    never by test questions.
    """

    space: dict[str, Domain] = Field(default_factory=dict)
    """Dotted path -> what it may be: ``{uniform: [0, 24]}``, ``{loguniform: [1e-6, 1e-4]}``,
    ``{randint: [2, 12]}`` or ``{choice: [2, 5, 10]}``. Any setting that changes a student."""
    objective: Literal["validation_loss", "validation_token_accuracy", "validation_accuracy"] = (
        "validation_loss"
    )
    """What trials are judged by; ``validation_accuracy`` needs ``student.accuracy_every_stages``."""
    search: Literal["optuna", "random", "grid"] = "optuna"
    """How settings are chosen: by Optuna from what earlier trials brought, at random, or every
    combination of choices once (``grid``)."""
    num_trials: int = Field(16, ge=1)
    """Trials; a ``grid`` has as many as it has combinations."""
    num_seeds: int = Field(1, ge=1)
    """Trainings of a trial that isn't stopped, with ``student.seed`` 0, 1, 2 ...; it is judged by their
    mean, and stopped by the first."""
    early_stopping: Literal["asha", "median", "none"] = "asha"
    """Which trials are stopped early: those outside the best part at a rung (``asha``), those worse
    than the median of the others' means (``median``), or none."""
    grace_fraction: float = Field(0.125, gt=0, le=1)
    """Share of its stages that every trial gets before it may be stopped."""
    reduction_factor: float = Field(4.0, gt=1)
    """With ``asha``: one in so many goes on at each rung, and rungs are so many times apart."""
    max_concurrent: int | None = Field(None, ge=1)
    """Trials at the same time; None takes as many as the cluster has room for."""

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
    if path in ("student.validation_fraction", "student.accuracy_every_stages", "student.seed"):
        raise ValueError(f"{path}: trials could not be compared; set it for all of them")
