"""Check a sweep and its search space before anything starts; this module loads neither torch nor Ray."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from kpod_ray.config import RunConfig, Value
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.checks import check_backend
from kpod_ray.pipeline.naming import check_models, name_run

_MAX_TRIED = 512
"""Most combinations of settings that `check_sweep` validates."""
_MAX_GRID = 10_000
"""Most trials of a grid."""


def check_sweep(config: RunConfig) -> None:
    """Check the settings, the files and the models of all trials of a sweep.

    Every choice, both bounds of every range and a number between them are tried, in all combinations if
    these are at most 512, else each pair of settings with the first values of the others.

    Raises:
        KpodError: The space is empty, ``student.validation_fraction`` is 0, the objective isn't
            measured, a path of the space names no setting, a value or a combination of values isn't
            allowed, a grid has too many combinations, the name or the last seed of a trial isn't
            allowed, or as in `check_models` and `check_backend`, which raise `OSError` and `ValueError`,
            too.
    """
    _check_settings(config)
    space = {path: domain.probes() for path, domain in config.sweep.space.items()}
    for settings in _combinations(space):
        _try(config, settings)
    first = {path: values[0] for path, values in space.items()}
    for path, values in space.items():
        seen = list[RunConfig]()
        for value in values:
            tried = config.override({**first, path: value})
            if tried in seen:
                raise KpodError(f"sweep.space: {path}: {value!r} means the same as another choice")
            seen.append(tried)
            check_models(tried)
            check_backend(tried)
            name_run(tried)


def _check_settings(config: RunConfig) -> None:
    """Check all settings of a sweep but the space's values; raise a `KpodError`."""
    sweep, student = config.sweep, config.student
    if not sweep.space:
        raise KpodError("sweep.space is empty; give dotted paths of settings and their values")
    if not student.validation_fraction:
        raise KpodError(
            "a sweep compares trials on the validation set; set student.validation_fraction, "
            "such as 0.1"
        )
    if sweep.objective == "validation_accuracy" and student.accuracy_every_stages is None:
        raise KpodError(
            "sweep.objective validation_accuracy is not measured; set student.accuracy_every_stages"
        )
    num_trials = math.prod(len(domain.choice or ()) for domain in sweep.space.values())
    if sweep.search == "grid" and num_trials > _MAX_GRID:
        raise KpodError(
            f"sweep.space: a grid of {num_trials:,} trials; give fewer choices, or random"
        )
    if sweep.num_seeds > 1:
        config.override({"student.seed": config.training_seed + sweep.num_seeds - 1})
    config.override({"name": f"{config.name}-best"})


def _combinations(space: Mapping[str, list[Value]]) -> Iterator[Mapping[str, Value]]:
    """Yield the settings to try."""
    if math.prod(map(len, space.values())) <= _MAX_TRIED:
        for combination in itertools.product(*space.values()):
            yield dict(zip(space, combination, strict=True))
        return
    first = {path: values[0] for path, values in space.items()}
    for path, values in space.items():
        yield from ({**first, path: value} for value in values)
    pairs = (
        {**first, one: a, other: b}
        for one, other in itertools.combinations(space, 2)
        for a in (space[one][0], space[one][-1])
        for b in (space[other][0], space[other][-1])
    )
    yield from itertools.islice(pairs, _MAX_TRIED)


def _try(config: RunConfig, settings: Mapping[str, Value]) -> None:
    """Raise a `KpodError` if settings aren't allowed; name the single wrong setting if there is one."""
    error = _refusal(config, settings)
    if error is None:
        return
    for path, value in settings.items():
        single = _refusal(config, {path: value})
        if single == error:
            where = "" if path in error else f"{path}={value}: "
            raise KpodError(f"sweep.space: {where}{error}{_advice(config, path)}")
    listed = " ".join(f"{path}={value}" for path, value in settings.items())
    raise KpodError(f"sweep.space: {listed}: {error}")


def _refusal(config: RunConfig, settings: Mapping[str, Any]) -> str | None:
    try:
        config.override(settings)
    except KpodError as error:
        return str(error).removeprefix("config: ")
    return None


def _advice(config: RunConfig, path: str) -> str:
    """Return advice for a range of numbers on a setting that takes whole numbers."""
    domain = config.sweep.space[path]
    low, high = domain.ends()
    is_range = domain.uniform is not None or domain.loguniform is not None
    if is_range and not any(_refusal(config, {path: value}) for value in (low, high)):
        return "; for whole numbers, use randint"
    return ""
