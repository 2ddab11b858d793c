"""Choose the learning rate of each arm by validation accuracy, with seeds that aren't the comparison's.

Every arm is trained with every rate of one grid and with the same seeds, and so on the same validation
questions. The test questions aren't answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kpod_ray.comparison.running import run_unfinished
from kpod_ray.comparison.trials import budget_of, trial_config
from kpod_ray.config import RunConfig
from kpod_ray.config.comparison import MAX_SEED
from kpod_ray.pipeline.naming import Run, name_run
from kpod_ray.pipeline.run import RunCallbacks
from kpod_ray.report.comparison.collect import final_validation_accuracy
from kpod_ray.report.comparison.outcomes import ChosenRate

OnTuned = Callable[[int, int], None]
"""Takes the number of finished trainings and the number of all trainings."""


def tuning_seeds(config: RunConfig) -> range:
    """Return the seeds with which learning rates are chosen."""
    return range(MAX_SEED + 1, MAX_SEED + 1 + config.comparison.num_tuning_seeds)


def choose_rates(
    config: RunConfig, settings: Mapping[str, str], callbacks: RunCallbacks, on_tuned: OnTuned
) -> list[ChosenRate]:
    """Train arms with every learning rate, and return the best rate of each.

    Args:
        config: config of the comparison, with ``comparison.learning_rates``. The plans of the arms with
            the seeds of `tuning_seeds` must be finished.
        settings: arm -> fingerprint, see `arm_settings`; the arms to choose rates for.
        callbacks: as in `run_unfinished`.
        on_tuned: called after each training; trainings that were finished before come first.

    Raises:
        KpodError: As in `run_unfinished`.
        Exception: As in `run_unfinished`.
    """
    seeds = tuning_seeds(config)
    budgets = {seed: budget_of(config, seed) for seed in seeds}
    keys = [
        (arm, rate, seed)
        for seed in seeds
        for rate in sorted(config.comparison.learning_rates)
        for arm in settings
    ]
    runs = [_run(config, *key, budgets[key[2]]) for key in keys]
    for num_done, _ in enumerate(run_unfinished(runs, ("train",), callbacks), start=1):
        on_tuned(num_done, len(runs))
    measured: dict[str, dict[float, list[float]]] = {}
    for (arm, rate, _), run in zip(keys, runs, strict=True):
        accuracy = final_validation_accuracy(run.artifacts["train"])
        measured.setdefault(arm, {}).setdefault(rate, []).append(accuracy)
    return [best_rate(arm, settings[arm], by_rate) for arm, by_rate in measured.items()]


def best_rate(arm: str, settings: str, accuracies: Mapping[float, Sequence[float]]) -> ChosenRate:
    """Return the learning rate with the highest mean accuracy; of equal ones, the smallest rate.

    Args:
        arm: name of the arm.
        settings: fingerprint of its settings.
        accuracies: learning rate -> validation accuracy with each tuning seed.
    """
    means = sorted((rate, sum(shares) / len(shares)) for rate, shares in accuracies.items())
    best, _ = max(means, key=lambda pair: pair[1])  # max returns the first of equal ones
    return ChosenRate(arm, settings, best, tuple(means))


def _run(config: RunConfig, arm: str, rate: float, seed: int, budget: Mapping[str, int]) -> Run:
    overrides = {**budget, "student.learning_rate": rate}
    return name_run(trial_config(config, arm, seed, overrides))
