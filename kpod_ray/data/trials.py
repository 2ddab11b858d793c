"""Trials of a sweep: which settings were tried, and what came of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from kpod_ray.config import OBJECTIVES, Value

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


def ranked(trials: Sequence[SweepTrial], objective: str) -> list[SweepTrial]:
    """Return the finished trials, the best first; of equal ones the earlier first."""
    sign = 1 if OBJECTIVES[objective] == "min" else -1
    finished = [t for t in trials if t.state == FINISHED and not math.isnan(t.score)]
    return sorted(finished, key=lambda trial: sign * trial.score)


def saved_share(trials: Sequence[SweepTrial]) -> float:
    """Return the share of training that stopping early has saved, of that of all trials to their end.

    Failed trials don't count.
    """
    counted = [trial.percent for trial in trials if trial.state != FAILED]
    return 1 - sum(counted) / (100 * len(counted)) if counted else 0.0
