"""Run the trials of a sweep with Ray Tune: search algorithm, concurrency, early stopping, resume.

Ray Tune keeps the state of a sweep in the folder ``sweeps/NAME`` of the store. A sweep whose driver
died is restored from this state when the sweep is started again.
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
"""Dotted path of a config setting -> value in a trial."""
Report = Callable[[float, float], None]
"""Called during a trial with the progress in per cent, below 100, and the objective at this point.

The progress must increase from call to call. When Ray Tune stops the trial early, the call doesn't
return: the process of the trial ends.
"""
Trial = Callable[[str, Settings, Report], float]
"""Runs one trial in a process of its own; returns the objective at the end of the trial.

Called with the id of the trial, the settings of the trial, and the function that reports progress. An
exception makes the trial a failed one.
"""
WRITTEN_DOWN_SECONDS = 2
"""Seconds between two writes of the sweep's state; a killed sweep loses at most this much of it."""
_PERCENT = "percent"
_IS_FINISHED = "is_finished"
_MEMORY = {"memory": 2**20}
"""Resources that the process of a trial reserves: almost none. The actors and workers that the trial
starts reserve their own, and would find no room if every trial held a CPU."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep as Ray Tune needs it: search space and method, storage, seed and concurrency."""

    settings: SweepConfig
    store: Store
    name: str
    """Name of the sweep's folder in ``sweeps/``; a sweep of the same name is continued."""
    seed: int
    """Seed of the search algorithm."""
    max_concurrent: int
    """Maximum number of trials at the same time."""


def tune_trials(trial: Trial, sweep: Sweep) -> list[SweepTrial]:
    """Run the unfinished trials of a sweep; return all trials, with those of earlier calls.

    A trial that failed is retried once. Of the trials of earlier calls, failed ones are run again,
    finished and stopped ones aren't. A trial that fails doesn't raise an error: its state is ``failed``.
    Ray must be connected. The function sets environment variables of Ray Tune and log levels in this
    process. ``trial`` is pickled, and called in a process of its own for each trial.

    Returns:
        Finished, stopped and failed trials in the order in which they were created.

    Raises:
        KpodError: The state of the sweep in the store is damaged.
        ray.tune.TuneError: Ray Tune fails for a reason other than a failed trial.
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
    """Run one trial in the process that Ray Tune started for it, and report its final objective."""

    def report(percent: float, value: float) -> None:
        """Report the progress of the trial and its objective to Ray Tune."""
        tune.report({_PERCENT: percent, objective: value, _IS_FINISHED: False})

    score = trial(tune.get_context().get_trial_id(), settings, report)
    tune.report({_PERCENT: 100.0, objective: score, _IS_FINISHED: True})


def _tuner(function: Any, sweep: Sweep) -> tune.Tuner:
    """Return the tuner of a sweep: restored from the store if its state is there, else a new one.

    Raises:
        KpodError: The state of the sweep in the store is damaged.
    """
    settings = sweep.settings
    store = sweep.store
    folder = f"{store.root}/sweeps"
    path = f"{folder}/{sweep.name}"
    filesystem = store.filesystem
    if tune.Tuner.can_restore(path, storage_filesystem=filesystem):
        try:
            return tune.Tuner.restore(
                path, function, resume_errored=True, storage_filesystem=filesystem
            )
        except Exception as error:  # damaged pickle and JSON files raise errors of many types
            raise KpodError(
                f"the saved state of the sweep in {store.address(f'sweeps/{sweep.name}')} is damaged; "
                "delete this folder: finished trainings are not run again"
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
    """Return the distribution or the choices of a setting as a Ray Tune search space."""
    if domain.uniform is not None:
        return tune.uniform(*domain.uniform)
    if domain.loguniform is not None:
        return tune.loguniform(*domain.loguniform)
    if domain.randint is not None:
        return tune.randint(domain.randint[0], domain.randint[1] + 1)
    choices = list(domain.choice or ())
    return tune.grid_search(choices) if is_grid else tune.choice(choices)


def _search(settings: SweepConfig, sweep: Sweep) -> Searcher | SearchAlgorithm:
    """Return the search algorithm, which also limits the number of trials at the same time.

    ``TuneConfig.max_concurrent_trials`` isn't used, since Ray Tune applies it to some algorithms only.
    """
    if settings.search == "optuna":
        return ConcurrencyLimiter(OptunaSearch(seed=sweep.seed), sweep.max_concurrent)
    return BasicVariantGenerator(random_state=sweep.seed, max_concurrent=sweep.max_concurrent)


def _scheduler(settings: SweepConfig) -> TrialScheduler | None:
    """Return the rule that stops trials early; None lets every trial run to its end."""
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
    """Return the settings, the curve of the objective and the state of a trial from its Tune result."""
    metrics = result.metrics or {}
    table = result.metrics_dataframe
    curve: dict[float, float] = {}
    if table is not None and objective in table:
        # A resumed trial may report a stage twice; the dict keeps the later value of each stage.
        curve = dict(zip(table[_PERCENT].tolist(), table[objective].tolist(), strict=True))
    state = FAILED if result.error else FINISHED if metrics.get(_IS_FINISHED) else STOPPED
    error = str(result.error).strip().splitlines()[-1] if result.error else ""
    trial_id = str(metrics.get("trial_id", ""))
    return SweepTrial(trial_id, dict(result.config or {}), tuple(curve.items()), state, error)
