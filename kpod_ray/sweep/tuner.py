"""Run the trials of a sweep with Ray Tune: concurrency, early stopping, retries; and go on after a kill.

What is known of the trials is kept in the store as JSON (`TrialRecords`). Ray Tune's own state, which it
pickles, stays in a temporary folder of the driver and is never read.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from ray import tune
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    TrialScheduler,
)
from ray.tune.search import Searcher

from kpod_ray.config import OBJECTIVES, SweepConfig, Value
from kpod_ray.report.sweep.data import FAILED, FINISHED, STOPPED, SweepTrial
from kpod_ray.storage.scratch import temporary_folder
from kpod_ray.storage.store import Store
from kpod_ray.sweep.proposals import num_trials, propose
from kpod_ray.sweep.records import TrialRecords

Settings = Mapping[str, Value]
"""Dotted path of a config setting -> value in a trial."""
Report = Callable[[float, float], None]
"""Called during a trial with the progress in per cent, below 100, and the objective at this point.

The progress must increase from call to call. When Ray Tune stops the trial early, the call doesn't
return: the process of the trial ends.
"""
Trial = Callable[[str, Settings, Report], float]
"""Runs one trial in a process of its own; returns the objective at the end of the trial.

Called with the id of the trial (its number in the sweep, the same when the trial is run again), the
settings of the trial, and the function that reports progress. An exception makes the trial a failed one.
"""
_PERCENT = "percent"
_IS_FINISHED = "is_finished"
_NUMBER, _ID, _SETTINGS = "number", "id", "settings"
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

    A trial that failed is retried once. Of the trials of earlier calls, finished and stopped ones aren't
    run again; failed ones, and ones whose driver was killed, are run again with the same settings. The
    search and the rule that stops trials early know all results of earlier calls. A trial that was under
    way isn't judged again at the points that it has already passed; otherwise a sweep that goes on
    differs from an untouched one only by the order in which results come in. A trial that fails doesn't
    raise an error: its state is ``failed``.

    Ray must be connected. The function sets an environment variable of Ray Tune and log levels in this
    process. ``trial`` is pickled, and called in a process of its own for each trial.

    Returns:
        Finished, stopped and failed trials in the order of their numbers.

    Raises:
        KpodError: The state of the sweep in the store is damaged.
        ray.tune.TuneError: Ray Tune fails for a reason other than a failed trial.
    """
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    records = TrialRecords(sweep.store, sweep.name, sweep.settings)
    new = [number for number in range(num_trials(sweep.settings)) if number not in records]
    waiting = [*records.unfinished(), *new]
    if waiting:
        function = functools.partial(_run, trial, sweep.settings.objective)
        with temporary_folder() as folder:
            results = _tuner(function, sweep, records, waiting, folder).fit()
        for result in results:
            if result.error:
                lines = str(result.error).strip().splitlines() or [type(result.error).__name__]
                records.end((result.config or {})[_NUMBER], FAILED, lines[-1])
    return records.trials()


def _run(trial: Trial, objective: str, config: dict[str, Any]) -> None:
    """Run one trial in the process that Ray Tune started for it, and report its final objective."""

    def report(percent: float, value: float) -> None:
        """Report the progress of the trial and its objective to Ray Tune."""
        tune.report({_PERCENT: percent, objective: value, _IS_FINISHED: False})

    score = trial(config[_ID], config[_SETTINGS], report)
    tune.report({_PERCENT: 100.0, objective: score, _IS_FINISHED: True})


def _tuner(
    function: Any, sweep: Sweep, records: TrialRecords, waiting: list[int], folder: Path
) -> tune.Tuner:
    """Return a tuner of the trials with the waiting numbers; its own state goes to a local folder."""
    scheduler = _scheduler(sweep.settings)
    return tune.Tuner(
        tune.with_resources(function, _MEMORY),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            failure_config=tune.FailureConfig(max_failures=1),
            callbacks=[_Recorder(sweep.settings.objective, records, scheduler)],
            verbose=0,
        ),
        tune_config=tune.TuneConfig(
            num_samples=len(waiting),
            max_concurrent_trials=sweep.max_concurrent,
            search_alg=_Search(sweep, records, iter(waiting)),
            scheduler=scheduler,
        ),
    )


def _scheduler(settings: SweepConfig) -> TrialScheduler:
    """Return the rule that stops trials early."""
    grace = 100 * settings.grace_fraction
    judged = {"metric": settings.objective, "mode": OBJECTIVES[settings.objective]}
    if settings.early_stopping == "asha":
        return ASHAScheduler(
            time_attr=_PERCENT,
            max_t=100,
            grace_period=grace,
            reduction_factor=settings.reduction_factor,
            **judged,
        )
    if settings.early_stopping == "median":
        return MedianStoppingRule(time_attr=_PERCENT, grace_period=grace, **judged)
    return FIFOScheduler()


class _Search(Searcher):
    """Hands the waiting trials to Ray Tune: settings of earlier calls, then new proposals."""

    def __init__(self, sweep: Sweep, records: TrialRecords, waiting: Iterator[int]) -> None:
        super().__init__()
        self._sweep = sweep
        self._records = records
        self._waiting = waiting

    def suggest(self, trial_id: str) -> Any:
        """Return the config of the next trial; Tune's own ``trial_id`` isn't used."""
        number = next(self._waiting, None)
        if number is None:
            return Searcher.FINISHED
        trials = self._records.trials()
        known = self._records.unfinished().get(number)
        settings = (
            known.settings
            if known
            else propose(self._sweep.settings, self._sweep.seed, number, trials)
        )
        trial = self._records.start(number, settings)
        return {_NUMBER: number, _ID: trial.trial_id, _SETTINGS: settings}

    def on_trial_complete(self, *_: Any, **__: Any) -> None:
        """Do nothing: proposals are made from the records."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a sweep goes on from the records."""


class _EarlierTrial(NamedTuple):
    """A trial of an earlier call, as schedulers need it: hashable, with an id."""

    trial_id: str


class _Recorder(tune.Callback):
    """Writes down what trials report, and tells the scheduler of results of earlier calls."""

    def __init__(self, objective: str, records: TrialRecords, scheduler: TrialScheduler) -> None:
        self._objective = objective
        self._records = records
        self._scheduler = scheduler
        self._curves = {number: trial.curve for number, trial in records.unfinished().items()}

    def setup(self, **_: Any) -> None:
        """Tell the scheduler of the trials that are over."""
        for trial in self._records.trials():
            if trial.state in (FINISHED, STOPPED):
                earlier = _EarlierTrial(trial.trial_id)
                self._scheduler.on_trial_add(None, earlier)
                self._tell(earlier, trial.curve)

    def on_trial_start(self, trial: Any, **_: Any) -> None:
        """Tell the scheduler what a trial that is run again had reported before."""
        self._tell(trial, self._curves.pop(trial.config[_NUMBER], ()))

    def _tell(self, trial: Any, curve: tuple[tuple[float, float], ...]) -> None:
        for percent, value in curve:
            # ``on_trial_complete`` takes a result without a decision, but lets ASHA forget the trial.
            result = {_PERCENT: percent, self._objective: value}
            self._scheduler.on_trial_complete(None, trial, result)
            self._scheduler.on_trial_add(None, trial)

    def on_trial_result(self, trial: Any, result: Mapping[str, Any], **_: Any) -> None:
        """Write down the objective at one point of a trial."""
        number, value = trial.config[_NUMBER], float(result[self._objective])
        self._records.add_point(number, float(result[_PERCENT]), value)

    def on_trial_complete(self, trial: Any, **_: Any) -> None:
        """Write down that a trial is finished, or was stopped early."""
        is_finished = trial.last_result.get(_IS_FINISHED, False)
        self._records.end(trial.config[_NUMBER], FINISHED if is_finished else STOPPED)
