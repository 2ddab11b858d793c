"""Everything the page about a sweep shows, as plain frozen data."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

from kpod_ray.config import OBJECTIVES, SweepConfig, Value

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"


@dataclasses.dataclass(frozen=True)
class SweepTrial:
    """What became of one trial."""

    trial_id: str
    settings: dict[str, Value]
    """Dotted path -> value."""
    curve: tuple[tuple[float, float], ...]
    """How much of the training was done, in per cent, and the objective there."""
    state: str
    """``finished``, ``stopped`` early, or ``failed``."""
    error: str
    """Last line of why it failed, or empty."""

    @property
    def score(self) -> float:
        """The objective as it was last; NaN if it never was."""
        return self.curve[-1][1] if self.curve else math.nan

    @property
    def percent(self) -> float:
        """How much of its training it did, [0, 100]."""
        return self.curve[-1][0] if self.curve else 0.0


@dataclasses.dataclass(frozen=True)
class SweepPage:
    """Everything on the page."""

    name: str
    sweep: SweepConfig
    trials: tuple[SweepTrial, ...]
    base: Mapping[str, object]
    """Dotted path -> what the config itself says there."""
    accuracies: Mapping[str, Mapping[str, float]]
    """``untouched`` and ``best``: accuracy on the test questions with its interval, if evaluated."""
    versions: Mapping[str, str]
    config_yaml: str
    best_yaml: str

    @property
    def paths(self) -> list[str]:
        """The settings that were varied."""
        return list(self.sweep.space)

    @property
    def objective(self) -> str:
        """What trials are judged by, in words."""
        return self.sweep.objective.replace("_", " ")

    @property
    def is_lower_better(self) -> bool:
        """Which way is better."""
        return OBJECTIVES[self.sweep.objective] == "min"

    def finished(self) -> list[SweepTrial]:
        """Return the finished trials, the best first."""
        return ranked(self.trials, self.sweep.objective)


def ranked(trials: Sequence[SweepTrial], objective: str) -> list[SweepTrial]:
    """Return the finished trials, the best first; of equal ones the earlier first."""
    sign = 1 if OBJECTIVES[objective] == "min" else -1
    finished = [t for t in trials if t.state == FINISHED and not math.isnan(t.score)]
    return sorted(finished, key=lambda trial: sign * trial.score)


def common_stage(trials: tuple[SweepTrial, ...]) -> tuple[float, dict[str, float]]:
    """Return where most trials can be compared: the per cent that all were at, and their objectives.

    Failed trials don't count. Without any such place: 0, and nothing.
    """
    curves = {t.trial_id: dict(t.curve) for t in trials if t.state != FAILED and t.curve}
    places = sorted(set(itertools.chain.from_iterable(curves.values())))
    shared = [place for place in places if all(place in curve for curve in curves.values())]
    if not shared:
        return 0.0, {}
    return shared[-1], {name: curve[shared[-1]] for name, curve in curves.items()}


def saved_fraction(trials: Sequence[SweepTrial]) -> float:
    """Return the share of training that stopping early has saved, of that of all trials to their end.

    Failed trials don't count.
    """
    counted = [trial.percent for trial in trials if trial.state != FAILED]
    return 1 - sum(counted) / (100 * len(counted)) if counted else 0.0


def value_text(value: Value) -> str:
    """Return a value in a few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
