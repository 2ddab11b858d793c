"""Propose the settings of a sweep's trials: a function of the trial's number and of earlier results.

No search algorithm is kept between two proposals, so a sweep whose driver was killed goes on with the
proposals that an untouched sweep would have made from the same results.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
)
from optuna.samplers import RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from kpod_ray.config import OBJECTIVES, SweepConfig, Value
from kpod_ray.report.sweep.data import FINISHED, STOPPED, SweepTrial
from kpod_ray.report.sweep.importance import distribution


def num_trials(config: SweepConfig) -> int:
    """Return the number of trials of a sweep: ``num_trials``, or all combinations of a grid."""
    if config.search != "grid":
        return config.num_trials
    return math.prod(len(domain.choice or ()) for domain in config.space.values())


def propose(
    config: SweepConfig, seed: int, number: int, trials: Iterable[SweepTrial]
) -> dict[str, Value]:
    """Return the settings of one trial, the same for the same arguments.

    Args:
        config: space and search. ``optuna`` proposes by the tree-structured Parzen estimator, ``random``
            and ``grid`` without a look at ``trials``.
        seed: seed of the search, 0 or more.
        number: number of the trial, from 0 to `num_trials` - 1.
        trials: trials of the sweep in the order of their numbers. Finished trials and trials that were
            stopped early count by `SweepTrial.score`; others, and scores that aren't finite, don't.
    """
    if config.search == "grid":
        choices = [domain.choice or () for domain in config.space.values()]
        values = next(itertools.islice(itertools.product(*choices), number, None))
        return dict(zip(config.space, values, strict=True))
    # A seed for each number, in place of one sampler's state, which a killed driver would take along.
    own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    is_random = config.search == "random"
    sampler = RandomSampler(own_seed) if is_random else TPESampler(seed=own_seed)
    is_min = OBJECTIVES[config.objective] == "min"
    direction = StudyDirection.MINIMIZE if is_min else StudyDirection.MAXIMIZE
    study = optuna.create_study(sampler=sampler, direction=direction)
    if not is_random:
        study.add_trials([_told(config, trial) for trial in trials if _counts(trial)])
    return dict(study.ask(_distributions(config)).params)


def is_in_space(config: SweepConfig, settings: dict[str, Value]) -> bool:
    """Return whether settings name exactly the paths of the space, with values of their domains."""
    try:
        create_trial(state=TrialState.FAIL, params=settings, distributions=_distributions(config))
    except (ValueError, TypeError):
        return False
    return True


def _counts(trial: SweepTrial) -> bool:
    return trial.state in (FINISHED, STOPPED) and math.isfinite(trial.score)


def _told(config: SweepConfig, trial: SweepTrial) -> FrozenTrial:
    return create_trial(
        value=trial.score, params=trial.settings, distributions=_distributions(config)
    )


def _distributions(config: SweepConfig) -> dict[str, BaseDistribution]:
    return {path: distribution(domain) for path, domain in config.space.items()}
