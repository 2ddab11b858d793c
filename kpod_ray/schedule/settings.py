"""From ``schedule`` settings to the parameters of `kpod_ray.algorithm.schedule`."""

from __future__ import annotations

import functools

from kpod_ray.algorithm.schedule import ScheduleSettings, Solver
from kpod_ray.algorithm.selection import select_by_merge, select_by_thresholds
from kpod_ray.config import ScheduleConfig


def schedule_settings(config: ScheduleConfig) -> ScheduleSettings:
    """Return the parameters of a schedule, with a solver that applies the settings of ``schedule``.

    Raises:
        ValueError: A parameter is out of its range; see `ScheduleSettings`.
    """
    return ScheduleSettings(
        num_stages=config.num_stages,
        full_stage=config.resolved_full_stage,
        growth=config.growth,
        initial_fraction=config.initial_fraction,
        step_size=config.step_size,
        solver=_solver(config),
    )


def difficulty_column(config: ScheduleConfig) -> str:
    """Return the name of the column of table ``difficulties`` that a plan is computed from.

    The name is ``step_difficulties`` or, with uniform difficulty weights, ``uniform_step_difficulties``.
    """
    return (
        "step_difficulties"
        if config.difficulty_weights == "from_weighting"
        else "uniform_step_difficulties"
    )


def _solver(config: ScheduleConfig) -> Solver:
    if config.solver == "merge":
        return functools.partial(select_by_merge, diversity_weight=config.diversity_weight)
    return functools.partial(
        select_by_thresholds,
        diversity_weight=config.diversity_weight,
        epsilon=config.epsilon,
    )
