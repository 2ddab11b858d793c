"""The progressive schedule: given steps of every question at every stage (Eq. 10, 11, Algorithm 1).

The given steps of a question are the leading reasoning steps that are put into the student's input. The
remaining steps are supervised. The ceiling D(t) bounds the summed difficulty of all supervised steps at
stage t. A solver of Eq. 13 selects the questions whose number of given steps falls.

Invariants of a plan:

- Up to stage T the difficulty of the supervised steps is at most the stage's ceiling, plus 1e-9 of the
  total difficulty for rounding. Only a replanned stage may exceed the ceiling, if supervised steps have
  become more difficult; the stage then changes no question.
- The number of given steps of a question never rises from one stage to the next.
- After stage T every question has 0 given steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ROUNDING = 1e-9
"""Fraction of the total difficulty by which a plan may exceed a ceiling, so that rounding of the sums
doesn't exclude a step that fits exactly."""


class Solver(Protocol):
    """A solver of Eq. 13, such as `selection.select_by_merge` with a fixed ``diversity_weight``."""

    def __call__(
        self, costs: FloatArray, cluster_ids: IntArray, *, budget: float
    ) -> npt.NDArray[np.bool_]:
        """Return a bool mask, [N], of questions whose costs sum to at most the budget, up to rounding.

        ``costs``, [N], are the difficulties in nats, >= 0, that the questions add; N may be 0.
        ``budget`` is the most difficulty to add, in nats; no question is selected below 0.
        """
        ...


@dataclass(frozen=True)
class ScheduleSettings:
    """Parameters of a schedule.

    Raises:
        ValueError: A parameter is out of its range.
    """

    num_stages: int
    """N_e: training stages, each of one epoch; at least 1."""
    full_stage: int
    """T: stage at which the ceiling reaches the total difficulty; 1 to `num_stages`."""
    growth: float
    """p of Eq. 10, >= 0: the ceiling grows with the power p + 1 of the stage."""
    initial_fraction: float
    """C_0 / B, 0 to 1: ceiling of stage 0 as a fraction of the total difficulty."""
    step_size: int
    """Delta_s of Eq. 11, at least 1: number by which the given steps of a selected question fall."""
    solver: Solver
    """Selects the questions whose given steps fall."""

    def __post_init__(self) -> None:
        if not 1 <= self.full_stage <= self.num_stages:
            raise ValueError(f"full_stage is {self.full_stage}, expected 1 to {self.num_stages}")
        if not (math.isfinite(self.growth) and self.growth >= 0):
            raise ValueError(f"growth is {self.growth}, expected a number >= 0")
        if not 0 <= self.initial_fraction <= 1:
            raise ValueError(f"initial_fraction is {self.initial_fraction}, expected 0 to 1")
        if self.step_size < 1:
            raise ValueError(f"step_size is {self.step_size}, expected at least 1")


@dataclass(frozen=True)
class Plan:
    """The schedule of all questions for one or more consecutive stages.

    Stage 0 is the initial state of Algorithm 1; training starts with stage 1. The arrays must not be
    changed: some share memory.
    """

    first_stage: int
    """Stage of row 0 of the arrays; 0 for a plan of all stages."""
    num_given_steps: npt.NDArray[np.int32]
    """[stages, Q], c_i(t): leading reasoning steps that are put into the student's input."""
    included: npt.NDArray[np.bool_]
    """[stages, Q], whether the question takes part in the stage."""
    ceilings: FloatArray
    """[stages], D(t), most difficulty of the supervised steps, in nats."""
    planned: FloatArray
    """[stages], H(t), difficulty of the supervised steps, in nats."""


def difficulty_ceiling(
    stage: int, *, total: float, initial_fraction: float, growth: float, full_stage: int
) -> float:
    """Return D(t) of Eq. 10 in nats: the most difficulty that the supervised steps of a stage may have.

    D(t) = C_0 + (B - C_0) * (t / T)^(p + 1) before stage T, and D(t) = B from stage T on. ``stage`` is
    t, ``total`` is B in nats, ``initial_fraction`` is C_0 / B in [0, 1], ``growth`` is p >= 0, and
    ``full_stage`` is T >= 1. A negative stage raises a ValueError.
    """
    if stage < 0:
        raise ValueError(f"stage is {stage}, expected at least 0")
    if stage >= full_stage:
        return total
    share: float = (stage / full_stage) ** (growth + 1)
    return total * (initial_fraction + (1 - initial_fraction) * share)


def plan_stages(
    step_difficulties: FloatArray,
    num_steps: IntArray,
    cluster_ids: IntArray,
    settings: ScheduleSettings,
) -> Plan:
    """Plan stages 0 to N_e before training, each with all questions (Algorithm 1).

    Stage 0 starts with all steps given (c_i = n_i); the solver selects questions again and again until
    no further step fits under C_0. Each stage t = 1..T is one call of the solver with the budget D(t) -
    H, where H is the difficulty of the steps that are already supervised. In each call the given steps
    of a selected question fall by at most Delta_s. After stage T no step is given.

    Args:
        step_difficulties: [sum of num_steps], in nats (Eq. 8): all steps of question 0, then of question
            1, ...; the order of the questions decides ties.
        num_steps: [Q], n_i, reasoning steps of each question, at least 1.
        cluster_ids: [Q], cluster of each question.
        settings: Parameters of the schedule.

    Raises:
        ValueError: Q is 0, a count is below 1, shapes disagree, or a difficulty is negative or not
            finite.
    """
    check_steps(step_difficulties, num_steps)
    _check_clusters(num_steps, cluster_ids)
    # `fsum` over the buffer (`.data`) is faster than over the array: no NumPy scalars are made.
    total = math.fsum(step_difficulties.data)
    ceilings = stage_ceilings(total, settings)
    planned = np.full(settings.num_stages + 1, total)
    num_given_steps = np.zeros((settings.num_stages + 1, num_steps.size), dtype=np.int32)
    state = _State(num_steps, step_difficulties, num_steps, cluster_ids, settings)
    while state.advance(ceilings[0] + ROUNDING * total):
        pass
    num_given_steps[0], planned[0] = state.num_given, state.supervised_difficulty
    for stage in range(1, settings.full_stage + 1):
        state.advance(ceilings[stage] + ROUNDING * total)
        num_given_steps[stage], planned[stage] = state.num_given, state.supervised_difficulty
    included = np.broadcast_to(np.True_, num_given_steps.shape)
    return Plan(0, num_given_steps, included, ceilings, planned)


def replan(
    stage: int,
    num_given_steps: npt.NDArray[np.integer],
    step_difficulties: FloatArray,
    num_steps: IntArray,
    cluster_ids: IntArray,
    settings: ScheduleSettings,
) -> Plan:
    """Plan one stage from step difficulties that were measured during training (not in the paper).

    The stage is one call of the solver with the budget D'(t) - H', where D'(t) is Eq. 10 with the sum of
    the new difficulties for B, and H' the difficulty of the steps that are already supervised. A
    negative budget changes no question; ``planned`` then exceeds ``ceilings``. With the difficulties
    that were passed to `plan_stages` the result is the next row of that plan.

    ``stage`` is t, at least 1; after stage T no step is given. ``num_given_steps``, [Q], is c_i(t-1),
    the given steps at the stage before. The other arguments are those of `plan_stages`, with the new
    difficulties.

    Returns:
        A plan of this stage alone (one row), which includes every question.

    Raises:
        ValueError: A condition of `plan_stages` holds, the stage is below 1, or a number of given steps
            isn't from 0 to the question's number of steps.
    """
    check_steps(step_difficulties, num_steps)
    _check_clusters(num_steps, cluster_ids)
    if stage < 1:
        raise ValueError(f"stage is {stage}, expected at least 1")
    if num_given_steps.shape != num_steps.shape:
        raise ValueError(f"num_given_steps has shape {num_given_steps.shape}")
    if (num_given_steps < 0).any() or (num_given_steps > num_steps).any():
        raise ValueError("num_given_steps must be from 0 to the question's number of steps")
    total = math.fsum(step_difficulties.data)
    ceiling = _ceiling(stage, total, settings)
    start = num_given_steps if stage <= settings.full_stage else np.zeros_like(num_given_steps)
    state = _State(start, step_difficulties, num_steps, cluster_ids, settings)
    state.advance(ceiling + ROUNDING * total)
    return Plan(
        first_stage=stage,
        num_given_steps=state.num_given.astype(np.int32)[None],
        included=np.ones((1, num_steps.size), dtype=np.bool_),
        ceilings=np.array([ceiling]),
        planned=np.array([state.supervised_difficulty]),
    )


def stage_ceilings(total: float, settings: ScheduleSettings) -> FloatArray:
    """Return D(t) of Eq. 10 for stages 0 to N_e, in nats, from the total difficulty B in nats."""
    stages = range(settings.num_stages + 1)
    return np.array([_ceiling(stage, total, settings) for stage in stages])


def _ceiling(stage: int, total: float, settings: ScheduleSettings) -> float:
    return difficulty_ceiling(
        stage,
        total=total,
        initial_fraction=settings.initial_fraction,
        growth=settings.growth,
        full_stage=settings.full_stage,
    )


class _State:
    """The given steps of every question, and the difficulty of all supervised steps."""

    def __init__(
        self,
        num_given_steps: npt.NDArray[np.integer],
        step_difficulties: FloatArray,
        num_steps: IntArray,
        cluster_ids: IntArray,
        settings: ScheduleSettings,
    ) -> None:
        self.num_given = num_given_steps.astype(np.int64)
        self._offsets = np.cumsum(num_steps) - num_steps
        self.supervised_difficulty = 0.0
        if (self.num_given < num_steps).any():
            first_supervised = np.repeat(self._offsets + self.num_given, num_steps)
            is_supervised = np.arange(step_difficulties.size) >= first_supervised
            self.supervised_difficulty = math.fsum(step_difficulties[is_supervised].data)
        self._step_difficulties = step_difficulties
        self._cluster_ids = cluster_ids
        self._settings = settings

    def advance(self, ceiling: float) -> bool:
        """Lower the given steps of the questions that the solver selects (Eq. 11), if there are any.

        ``ceiling``, in nats, bounds the difficulty of the supervised steps afterwards. The result is
        whether any question was selected.
        """
        questions = np.flatnonzero(self.num_given)
        costs = self._next_costs(questions)
        selected = self._settings.solver(
            costs, self._cluster_ids[questions], budget=ceiling - self.supervised_difficulty
        )
        moved = questions[selected]
        self.num_given[moved] = np.maximum(self.num_given[moved] - self._settings.step_size, 0)
        # `fsum` rounds once, whatever the order of the terms: the order of questions changes no plan.
        self.supervised_difficulty += math.fsum(costs[selected].data)
        return moved.size > 0

    def _next_costs(self, questions: IntArray) -> FloatArray:
        """Return the difficulty in nats that a selection of each question, with given steps, adds, [N].

        The costs are sums of the single steps. Differences of cumulative sums would carry the rounding
        errors of all earlier questions, and could be negative.
        """
        given = self.num_given[questions]
        last = self._offsets[questions] + given - 1
        costs = self._step_difficulties[last]
        for back in range(1, min(self._settings.step_size, int(given.max(initial=0)))):
            has_step = given > back
            costs[has_step] += self._step_difficulties[last[has_step] - back]
        return costs


def check_steps(step_difficulties: FloatArray, num_steps: IntArray) -> None:
    """Check the step difficulties in nats, [sum of num_steps], and the step counts, [Q].

    Raises:
        ValueError: Q is 0, a count is below 1, shapes disagree, or a difficulty is negative or not
            finite.
    """
    if num_steps.ndim != 1:
        raise ValueError(f"num_steps has shape {num_steps.shape}")
    if num_steps.size == 0:
        raise ValueError("there are no questions to plan")
    if num_steps.min() < 1:
        raise ValueError(f"question {int(num_steps.argmin())} has no reasoning step")
    if step_difficulties.shape != (int(num_steps.sum()),):
        raise ValueError(
            f"step_difficulties has shape {step_difficulties.shape}, "
            f"num_steps sums to {num_steps.sum()}"
        )
    if not np.isfinite(step_difficulties).all() or step_difficulties.min() < 0:
        raise ValueError("step difficulties must be finite and not negative")


def _check_clusters(num_steps: IntArray, cluster_ids: IntArray) -> None:
    if num_steps.shape != cluster_ids.shape:
        raise ValueError(f"num_steps has shape {num_steps.shape}, cluster_ids {cluster_ids.shape}")
