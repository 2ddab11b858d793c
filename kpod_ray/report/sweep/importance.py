"""How much each setting of a sweep moves the objective."""

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
"""With fewer finished or stopped trials, the importance of a setting can't be told."""


def importances(
    space: Mapping[str, Domain],
    settings: Sequence[Mapping[str, Value]],
    objectives: Sequence[float],
) -> dict[str, float]:
    """Return the share of the objective's variance that each setting accounts for (fANOVA).

    Args:
        space: dotted path -> what it may be.
        settings: of every trial.
        objectives: of every trial, as long as ``settings``.

    Returns:
        Dotted path -> share, the largest first; they sum to 1. Empty with fewer than 4 trials, or
        where all do alike.
    """
    if len(objectives) < MIN_TRIALS or len(set(objectives)) < 2:
        return {}
    distributions = {path: _distribution(domain) for path, domain in space.items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for row, value in zip(settings, objectives, strict=True):
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(row), distributions=distributions, value=float(value)
            )
        )
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))


def _distribution(domain: Domain) -> BaseDistribution:
    if domain.uniform is not None:
        return FloatDistribution(*domain.uniform)
    if domain.loguniform is not None:
        return FloatDistribution(*domain.loguniform, log=True)
    if domain.randint is not None:
        return IntDistribution(*domain.randint)
    return CategoricalDistribution(domain.choice or ())
