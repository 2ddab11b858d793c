"""The importance of each setting of a sweep for the objective, by fANOVA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from kpod_ray.config import Domain, Value

MIN_TRIALS = 4
"""Number of trials below which no importance is estimated."""


def importances(
    space: Mapping[str, Domain],
    settings: Sequence[Mapping[str, Value]],
    objectives: Sequence[float],
) -> dict[str, float]:
    """Return the fraction of the objective's variance that each setting explains, by fANOVA.

    The result is deterministic. Optuna's logging is set to warnings for the whole process, and stays so.

    Args:
        space: dotted path of a setting -> its domain.
        settings: for each trial, dotted path -> value of exactly the settings in ``space``.
        objectives: objective of each trial, finite, in the order of ``settings``.

    Returns:
        Dotted path -> fraction, the largest first; the fractions sum to 1. Empty with fewer than
        `MIN_TRIALS` objectives, which aren't checked; if all objectives are equal, or nearly equal; if
        every setting has the same value in all trials; or if ``space`` is empty.

    Raises:
        ValueError: An objective is NaN, a trial's settings aren't those of ``space``, a value isn't in
            its domain, or the numbers of settings and objectives differ.
    """
    if len(objectives) < MIN_TRIALS or len(set(objectives)) < 2:
        return {}
    distributions = {path: distribution(domain) for path, domain in space.items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for row, value in zip(settings, objectives, strict=True):
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(row), distributions=distributions, value=float(value)
            )
        )
    try:
        return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    except RuntimeError:  # fANOVA found no variance in the objectives or the settings
        return {}


def distribution(domain: Domain) -> BaseDistribution:
    """Return a domain of the config as Optuna's distribution."""
    if domain.uniform is not None:
        return FloatDistribution(*domain.uniform)
    if domain.loguniform is not None:
        return FloatDistribution(*domain.loguniform, log=True)
    if domain.randint is not None:
        return IntDistribution(*domain.randint)
    return CategoricalDistribution(domain.choice or ())
