"""Trials of a sweep under Ray Tune: which settings come next, how many at a time, which to stop early.

Tune keeps the state of a sweep in a folder of the store: a sweep whose driver dies goes on from it.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from ray import tune
from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import ConcurrencyLimiter, SearchAlgorithm, Searcher
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from kpod_ray.config import OBJECTIVES, Domain, SweepConfig, Value
from kpod_ray.errors import KpodError
from kpod_ray.report.sweep.data import FAILED, FINISHED, STOPPED, SweepTrial
from kpod_ray.storage.artifacts import Store

Settings = Mapping[str, Value]
"""Dotted path -> value."""
Report = Callable[[float, float], None]
"""Takes how far a trial is, in per cent below 100, and its objective there."""
Trial = Callable[[str, Settings, Report], float]
"""Gets its id; runs in a process of its own; returns the objective at the end."""
WRITTEN_DOWN_SECONDS = 2
"""How often what is known of the trials is written down, at most: what a killed sweep may forget."""
_PERCENT, _IS_FINISHED = "percent", "is_finished"
_MEMORY = {"memory": 2**20}
"""What the process of a trial takes of the cluster: next to nothing, since what it starts takes more."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What Tune needs to know of a sweep."""

    settings: SweepConfig
    store: Store
    name: str
    """Of the sweep's folder in ``sweeps/``: the same name goes on with the same sweep."""
    seed: int
    """Of the search."""
    max_concurrent: int


def tune_trials(trial: Trial, sweep: Sweep) -> list[SweepTrial]:
    """Run the trials of a sweep that aren't finished; return all of them.

    Args:
        trial: what one does.
        sweep: which there are.

    Raises:
        KpodError: What Tune kept of the sweep is damaged.
    """
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(WRITTEN_DOWN_SECONDS)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    objective = sweep.settings.objective
    function = functools.partial(_run, trial, objective)
    results = _tuner(tune.with_resources(function, _MEMORY), sweep).fit()
    return [_tuned(result, objective) for result in results]


def _run(trial: Trial, objective: str, settings: dict[str, Value]) -> None:
    def report(percent: float, value: float) -> None:
        """Tell Ray Tune how far the trial is, and its score so far."""
        tune.report({_PERCENT: percent, objective: value, _IS_FINISHED: False})

    score = trial(tune.get_context().get_trial_id(), settings, report)
    tune.report({_PERCENT: 100.0, objective: score, _IS_FINISHED: True})


def _tuner(function: Any, sweep: Sweep) -> tune.Tuner:
    """Return the tuner of a sweep, begun or new."""
    settings, store = sweep.settings, sweep.store
    folder = f"{store.root}/sweeps"
    path, filesystem = f"{folder}/{sweep.name}", store.filesystem
    if tune.Tuner.can_restore(path, storage_filesystem=filesystem):
        try:
            return tune.Tuner.restore(
                path, function, resume_errored=True, storage_filesystem=filesystem
            )
        except Exception as error:
            raise KpodError(
                f"what is kept of the sweep in {store.address(f'sweeps/{sweep.name}')} is damaged; "
                "delete it: trainings that are finished are not run again"
            ) from error
    is_grid = settings.search == "grid"
    return tune.Tuner(
        function,
        param_space={path: _domain(domain, is_grid) for path, domain in settings.space.items()},
        run_config=tune.RunConfig(
            name=sweep.name,
            storage_path=folder,
            storage_filesystem=filesystem,
            failure_config=tune.FailureConfig(max_failures=1),
            verbose=0,
        ),
        tune_config=tune.TuneConfig(
            metric=settings.objective,
            mode=OBJECTIVES[settings.objective],
            num_samples=1 if is_grid else settings.num_trials,
            search_alg=_search(settings, sweep),
            scheduler=_scheduler(settings),
        ),
    )


def _domain(domain: Domain, is_grid: bool) -> Any:
    """Return what Tune draws a setting from."""
    if domain.uniform is not None:
        return tune.uniform(*domain.uniform)
    if domain.loguniform is not None:
        return tune.loguniform(*domain.loguniform)
    if domain.randint is not None:
        return tune.randint(domain.randint[0], domain.randint[1] + 1)
    choices = list(domain.choice or ())
    return tune.grid_search(choices) if is_grid else tune.choice(choices)


def _search(settings: SweepConfig, sweep: Sweep) -> Searcher | SearchAlgorithm:
    """Return what chooses settings; it also bounds the trials at a time, as Tune does for some only."""
    if settings.search == "optuna":
        return ConcurrencyLimiter(OptunaSearch(seed=sweep.seed), sweep.max_concurrent)
    return BasicVariantGenerator(random_state=sweep.seed, max_concurrent=sweep.max_concurrent)


def _scheduler(settings: SweepConfig) -> TrialScheduler | None:
    grace = 100 * settings.grace_fraction
    if settings.early_stopping == "asha":
        return ASHAScheduler(
            time_attr=_PERCENT,
            max_t=100,
            grace_period=grace,
            reduction_factor=settings.reduction_factor,
        )
    if settings.early_stopping == "median":
        return MedianStoppingRule(time_attr=_PERCENT, grace_period=grace)
    return None


def _tuned(result: Any, objective: str) -> SweepTrial:
    metrics, table = result.metrics or {}, result.metrics_dataframe
    curve: dict[float, float] = {}
    if table is not None and objective in table:  # a trial that was resumed reports a stage again
        curve = dict(zip(table[_PERCENT].tolist(), table[objective].tolist(), strict=True))
    state = FAILED if result.error else FINISHED if metrics.get(_IS_FINISHED) else STOPPED
    error = str(result.error).strip().splitlines()[-1] if result.error else ""
    trial_id = str(metrics.get("trial_id", ""))
    return SweepTrial(trial_id, dict(result.config or {}), tuple(curve.items()), state, error)
