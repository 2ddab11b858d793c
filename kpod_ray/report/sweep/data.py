"""The results of a sweep, as plain frozen data."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

from kpod_ray.config import OBJECTIVES, SweepConfig, Value
from kpod_ray.evaluation.paired import PairedTest

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
"""States of a trial at the end of a sweep."""


@dataclasses.dataclass(frozen=True)
class SweepTrial:
    """The settings and results of one trial."""

    trial_id: str
    """Number of the trial in the sweep, with four digits."""
    settings: dict[str, Value]
    """Dotted path of each varied setting -> its value in the trial."""
    curve: tuple[tuple[float, float], ...]
    """(percentage of the training that was done, objective at that point), in rising order of the
    percentage; empty if the objective was never measured."""
    state: str
    """`FINISHED`, `STOPPED` (early) or `FAILED`."""
    error: str
    """Last line of the error of a failed trial; else empty."""

    @property
    def score(self) -> float:
        """Last value of the objective, also of a stopped or failed trial; NaN without a point."""
        return self.curve[-1][1] if self.curve else math.nan

    @property
    def percent(self) -> float:
        """Percentage of the training that was done at the last point of the curve; 0 without a point."""
        return self.curve[-1][0] if self.curve else 0.0


@dataclasses.dataclass(frozen=True)
class SweepPage:
    """Everything that the page about a sweep shows; a sweep varies at least one setting."""

    name: str
    sweep: SweepConfig
    trials: tuple[SweepTrial, ...]
    """All trials, also the failed ones."""
    base: Mapping[str, object]
    """Dotted path of a varied setting -> its value in the sweep's own config, before any trial changes
    it; the page shows ``None`` for a missing path."""
    accuracies: Mapping[str, Mapping[str, float]]
    """``untouched`` and ``best`` (the student of the best trial) -> accuracy on the test questions, as
    fractions: ``value``, and ``low`` and ``high`` of its 95 % interval; may be empty."""
    gain: PairedTest | None
    """Test of the best trial's student against the untouched one on the test questions; None if there
    is none."""
    versions: Mapping[str, str]
    """Package -> version."""
    config_yaml: str
    """The sweep's resolved config, as YAML."""
    best_yaml: str
    """The config of a run with the best trial's settings, without the sweep, as YAML."""

    @property
    def paths(self) -> list[str]:
        """Dotted paths of the varied settings, in the order of ``sweep.space``, as a new list."""
        return list(self.sweep.space)

    @property
    def objective(self) -> str:
        """Name of the objective for readers: underscores are spaces."""
        return self.sweep.objective.replace("_", " ")

    @property
    def is_lower_better(self) -> bool:
        """Whether a lower objective is better."""
        return OBJECTIVES[self.sweep.objective] == "min"

    def finished(self) -> list[SweepTrial]:
        """Return the finished trials that have an objective, the best last value first, see `ranked`."""
        return ranked(self.trials, self.sweep.objective)

    def best(self) -> str:
        """Return the id of the best trial, the first of `finished`; empty if no trial is finished."""
        finished = self.finished()
        return finished[0].trial_id if finished else ""


def ranked(trials: Sequence[SweepTrial], objective: str) -> list[SweepTrial]:
    """Return the finished trials, the best `SweepTrial.score` first; equal trials keep their order.

    Args:
        trials: trials in any state; stopped and failed trials, and those whose score isn't finite, are
            left out.
        objective: name of the objective, a key of `config.OBJECTIVES`.
    """
    sign = 1 if OBJECTIVES[objective] == "min" else -1
    finished = [t for t in trials if t.state == FINISHED and math.isfinite(t.score)]
    return sorted(finished, key=lambda trial: sign * trial.score)


def common_stage(trials: tuple[SweepTrial, ...]) -> tuple[float, dict[str, float]]:
    """Return the last point of the training at which every trial has a value of the objective.

    At this point, stopped and finished trials can be compared. Trials that failed or never measured the
    objective are left out. Points of two trials are common if their percentages are equal numbers.

    Args:
        trials: trials in any state, with different ids.

    Returns:
        The point in per cent of the training, and trial id -> objective at the point, in the order of
        the trials. If there is no common point: 0 and an empty mapping.
    """
    curves = {t.trial_id: dict(t.curve) for t in trials if t.state != FAILED and t.curve}
    places = sorted(set(itertools.chain.from_iterable(curves.values())))
    shared = [place for place in places if all(place in curve for curve in curves.values())]
    if not shared:
        return 0.0, {}
    return shared[-1], {name: curve[shared[-1]] for name, curve in curves.items()}


def saved_fraction(trials: Sequence[SweepTrial]) -> float:
    """Return the fraction of the training that early stopping saved, in [0, 1].

    The fraction is 1 minus the mean of `SweepTrial.percent` / 100 over the trials that didn't fail; 0
    without such trials. A trial without a point counts as all saved.
    """
    counted = [trial.percent for trial in trials if trial.state != FAILED]
    return 1 - sum(counted) / (100 * len(counted)) if counted else 0.0


def value_text(value: Value) -> str:
    """Return a setting's value as a text: a float with three significant digits, others by ``str``."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
