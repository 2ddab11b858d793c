"""Baseline schedules without given steps, to compare the progressive schedule with.

Every reasoning step of an included question is supervised. A question that is included in a stage is
included in all later stages.
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
    """Plan stages that include all questions with every step supervised (the paper's ablation).

    Args:
        step_difficulties: [sum of num_steps], in nats (Eq. 8): all steps of question 0, then of question
            1, ...
        num_steps: [Q], reasoning steps of each question, at least 1.
        num_stages: N_e, training stages, at least 1.

    Returns:
        A plan of stages 0 to N_e. The ceiling and the planned difficulty of each stage are the total
        difficulty.

    Raises:
        ValueError: Q is 0, a count is below 1, shapes disagree, or a difficulty is negative or not
            finite.
    """
    check_steps(step_difficulties, num_steps)
    shape = (num_stages + 1, num_steps.size)
    total = np.full(num_stages + 1, math.fsum(step_difficulties))
    return Plan(0, np.zeros(shape, np.int32), np.broadcast_to(np.True_, shape), total, total)


def plan_easy_to_hard(
    step_difficulties: FloatArray, num_steps: IntArray, settings: ScheduleSettings
) -> Plan:
    """Plan stages 0 to N_e of whole questions, the easiest first, under the ceiling of Eq. 10.

    Questions are sorted by the mean difficulty of their reasoning steps; ties keep the order of the
    arguments. Stage t includes the longest run of easiest questions whose steps have a total difficulty
    of at most D(t), plus 1e-9 of the sum over all questions for rounding. The easiest question is always
    included. After stage T all questions are. No question has given steps.

    Args:
        step_difficulties: [sum of num_steps], in nats (Eq. 8): all steps of question 0, then of question
            1, ...
        num_steps: [Q], reasoning steps of each question, at least 1.
        settings: Parameters of the ceiling; ``step_size`` and ``solver`` are not used.

    Raises:
        ValueError: Q is 0, a count is below 1, shapes disagree, or a difficulty is negative or not
            finite.
    """
    check_steps(step_difficulties, num_steps)
    total = math.fsum(step_difficulties)
    ceilings = stage_ceilings(total, settings)
    sums = np.add.reduceat(step_difficulties, np.cumsum(num_steps) - num_steps)
    order = np.argsort(sums / num_steps, kind="stable")
    spent = np.cumsum(sums[order])
    counts = np.maximum(1, np.searchsorted(spent, ceilings + ROUNDING * total, side="right"))
    # After T all questions take part, even if rounding lifts the last cumulative sum above `total`.
    counts[settings.full_stage + 1 :] = num_steps.size
    ranks = np.empty(num_steps.size, dtype=np.int64)
    ranks[order] = np.arange(num_steps.size)
    included = ranks[None] < counts[:, None]
    nothing_given = np.zeros(included.shape, dtype=np.int32)
    return Plan(0, nothing_given, included, ceilings, spent[counts - 1])
