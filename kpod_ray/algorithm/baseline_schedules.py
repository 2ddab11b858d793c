"""Schedules that move no boundary inside a rationale: the baselines of the progressive one.

`plan_at_once` is the paper's ablation without progression. `plan_easy_to_hard` orders whole questions:
an easy one is written whole from the start, a hard one takes no part until the ceiling allows it.

Invariant of both: nothing is ever given, and a question that takes part does so until the end.
"""

from __future__ import annotations

import math

import numpy as np

from kpod_ray.algorithm.schedule import (
    ROUNDING,
    FloatArray,
    IntArray,
    Plan,
    ScheduleSettings,
    check_steps,
    stage_ceilings,
)


def plan_at_once(step_difficulties: FloatArray, num_steps: IntArray, num_stages: int) -> Plan:
    """Plan stages in which the student writes every reasoning step of every question.

    Args:
        step_difficulties: [sum of num_steps], Eq. 8, question after question, in nats.
        num_steps: [Q], n_i >= 1.
        num_stages: N_e.

    Raises:
        ValueError: As in `schedule.plan_stages`.
    """
    check_steps(step_difficulties, num_steps)
    shape = (num_stages + 1, num_steps.size)
    total = np.full(num_stages + 1, math.fsum(step_difficulties))
    return Plan(0, np.zeros(shape, np.int32), np.broadcast_to(np.True_, shape), total, total)


def plan_easy_to_hard(
    step_difficulties: FloatArray, num_steps: IntArray, settings: ScheduleSettings
) -> Plan:
    """Plan stages of whole questions, the easiest first, under the ceiling of Eq. 10.

    Questions are sorted by the mean difficulty of their reasoning steps, equal ones by position. The
    first so many take part whose difficulties sum to at most D(t); the easiest always does, so that
    no stage is empty, and all do after T. Of the settings it uses those of the ceiling.

    Args:
        step_difficulties: [sum of num_steps], Eq. 8, question after question, in nats.
        num_steps: [Q], n_i >= 1.
        settings: What shapes the plan.

    Raises:
        ValueError: As in `schedule.plan_stages`.
    """
    check_steps(step_difficulties, num_steps)
    total = math.fsum(step_difficulties)
    ceilings = stage_ceilings(total, settings)
    sums = np.add.reduceat(step_difficulties, np.cumsum(num_steps) - num_steps)
    order = np.argsort(sums / num_steps, kind="stable")
    spent = np.cumsum(sums[order])
    counts = np.maximum(1, np.searchsorted(spent, ceilings + ROUNDING * total, side="right"))
    counts[settings.full_stage + 1 :] = num_steps.size
    ranks = np.empty(num_steps.size, dtype=np.int64)
    ranks[order] = np.arange(num_steps.size)
    included = ranks[None] < counts[:, None]
    nothing_given = np.zeros(included.shape, dtype=np.int32)
    return Plan(0, nothing_given, included, ceilings, spent[counts - 1])
