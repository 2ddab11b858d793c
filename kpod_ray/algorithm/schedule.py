"""How many leading reasoning steps are given at each stage: KPOD, Eq. 10, 11 and Algorithm 1.

The ceiling D(t) says how much difficulty may be emitted at stage t; a solver of Eq. 13 chooses the
questions whose boundary moves. `plan_stages` makes the whole plan before training, from fixed step
difficulties; `replan` makes one stage of it while training goes on, from what the steps cost now.

Invariants of a plan: what is emitted at a stage up to T stays at or below that stage's ceiling (up
to 1e-9 of the total difficulty, left for rounding); the number of given steps never rises from one
stage to the next; after stage T it is 0 for every question, whatever was reached. A replanned stage
keeps the last two; if steps that are emitted already have got harder than the ceiling allows, it
moves nothing.
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
"""Share of the total difficulty by which a ceiling may be passed, so that a last step fits."""


class Solver(Protocol):
    """A solver of Eq. 13, such as `selection.select_by_merge` with its diversity weight bound."""

    def __call__(
        self, costs: FloatArray, cluster_ids: IntArray, *, budget: float
    ) -> npt.NDArray[np.bool_]:
        """Return which items to take, [N], so that their costs sum to at most the budget."""
        ...


@dataclass(frozen=True)
class ScheduleSettings:
    """What shapes a plan.

    Raises:
        ValueError: A setting is out of its range.
    """

    num_stages: int
    """N_e: training stages, one an epoch; at least 1."""
    full_stage: int
    """T: stage at which the ceiling reaches the total difficulty; 1 to `num_stages`."""
    growth: float
    """p of Eq. 10, >= 0."""
    initial_fraction: float
    """C_0 / B, 0 to 1."""
    step_size: int
    """Delta_s of Eq. 11: reasoning steps moved when a question gets harder; at least 1."""
    solver: Solver
    """Chooses the questions that get harder."""

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
    """The schedule of every question for one or more stages in a row; stage 0 is before training."""

    first_stage: int
    """Stage of row 0: 0 for a whole plan."""
    num_given_steps: npt.NDArray[np.int32]
    """[stages, Q], c_i(t): leading reasoning steps handed to the student as input."""
    included: npt.NDArray[np.bool_]
    """[stages, Q], whether the question takes part in the stage."""
    ceilings: FloatArray
    """[stages], D(t), in nats."""
    planned: FloatArray
    """[stages], H(t): difficulty of all the steps that are emitted, in nats."""


def difficulty_ceiling(
    stage: int, *, total: float, initial_fraction: float, growth: float, full_stage: int
) -> float:
    """Return D(t) of Eq. 10: the difficulty that may be emitted at a stage.

    D(t) = C_0 + (B - C_0) * (t / T)^(p + 1), and B from T on.

    Args:
        stage: t, >= 0.
        total: B, difficulty of all reasoning steps, in nats.
        initial_fraction: C_0 / B, 0 to 1.
        growth: p.
        full_stage: T, at least 1.

    Raises:
        ValueError: `stage` is negative.
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
    """Plan all stages before training (Algorithm 1).

    Row 0 starts from every step given (c_i = n_i) and lets the solver work up to C_0, pass after
    pass, until nothing fits. Each stage t = 1..T is one pass with the budget D(t) - H: what a stage
    leaves unused goes to the next. After T nothing is given.

    Args:
        step_difficulties: [sum of num_steps], Eq. 8, >= 0, in nats: the steps of question 0 in
            order, then those of question 1, and so on. Pass questions in the order of their ids,
            for ties are decided by position.
        num_steps: [Q], n_i >= 1.
        cluster_ids: [Q], cluster of each question.
        settings: What shapes the plan.

    Raises:
        ValueError: The shapes disagree, there is no question or one without steps, or a difficulty
            is negative or not finite.
    """
    check_steps(step_difficulties, num_steps)
    _check_clusters(num_steps, cluster_ids)
    total = math.fsum(step_difficulties.data)
    ceilings = stage_ceilings(total, settings)
    planned = np.full(settings.num_stages + 1, total)
    num_given_steps = np.zeros((settings.num_stages + 1, num_steps.size), dtype=np.int32)
    state = _State(num_steps, step_difficulties, num_steps, cluster_ids, settings)
    while state.advance(ceilings[0] + ROUNDING * total):
        pass
    num_given_steps[0], planned[0] = state.num_given, state.emitted
    for stage in range(1, settings.full_stage + 1):
        state.advance(ceilings[stage] + ROUNDING * total)
        num_given_steps[stage], planned[stage] = state.num_given, state.emitted
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
    """Plan one stage again, from what the reasoning steps cost now; the paper plans but once.

    With B' the sum of the new difficulties and H' the difficulty of what is emitted already, the
    stage is one pass of the solver with the budget D'(t) - H', where D'(t) is Eq. 10 with B' for B.
    Below 0 it moves nothing: a step that the student has written is never given back. With the
    difficulties of `plan_stages` it makes the next row of that plan.

    Args:
        stage: t, at least 1; after T nothing is given.
        num_given_steps: [Q], c_i(t-1).
        step_difficulties: as in `plan_stages`, re-assessed.
        num_steps: [Q], n_i >= 1.
        cluster_ids: [Q], cluster of each question.
        settings: What shapes the plan.

    Returns:
        A plan of this stage alone.

    Raises:
        ValueError: As in `plan_stages`, or `num_given_steps` or `stage` is out of its range.
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
        planned=np.array([state.emitted]),
    )


def stage_ceilings(total: float, settings: ScheduleSettings) -> FloatArray:
    """Return D(t) of Eq. 10 for stage 0 to the last, [num_stages + 1], in nats."""
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
    """Where every question's boundary is, and the difficulty emitted so far."""

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
        self.emitted = 0.0
        if (self.num_given < num_steps).any():
            first_emitted = np.repeat(self._offsets + self.num_given, num_steps)
            is_emitted = np.arange(step_difficulties.size) >= first_emitted
            self.emitted = math.fsum(step_difficulties[is_emitted].data)
        self._step_difficulties = step_difficulties
        self._cluster_ids = cluster_ids
        self._settings = settings

    def advance(self, ceiling: float) -> bool:
        """Move the boundary of the selected questions (Eq. 11); return whether there were any."""
        questions = np.flatnonzero(self.num_given)
        costs = self._next_costs(questions)
        selected = self._settings.solver(
            costs, self._cluster_ids[questions], budget=ceiling - self.emitted
        )
        moved = questions[selected]
        self.num_given[moved] = np.maximum(self.num_given[moved] - self._settings.step_size, 0)
        # An exactly rounded sum, so that the plan does not depend on the order of the questions.
        self.emitted += math.fsum(costs[selected].data)
        return moved.size > 0

    def _next_costs(self, questions: IntArray) -> FloatArray:
        """Return the difficulty that one more move of each question would add.

        Summed afresh from the steps: differences of running totals would carry the rounding of all
        questions before, and could come out negative.
        """
        given = self.num_given[questions]
        last = self._offsets[questions] + given - 1
        costs = self._step_difficulties[last]
        for back in range(1, min(self._settings.step_size, int(given.max(initial=0)))):
            has_step = given > back
            costs[has_step] += self._step_difficulties[last[has_step] - back]
        return costs


def check_steps(step_difficulties: FloatArray, num_steps: IntArray) -> None:
    """Check the difficulties of all questions' reasoning steps, as `plan_stages` takes them.

    Raises:
        ValueError: There is no question or one without steps, the sizes disagree, or a difficulty is
            negative or not finite.
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
