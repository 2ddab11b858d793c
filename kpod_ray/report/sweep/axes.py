"""Positions of the values of a setting on the axis of a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kpod_ray.config import Domain, Value
from kpod_ray.report import plotting


def axis_places(domain: Domain, values: Sequence[Value]) -> tuple[list[float], dict[str, Any]]:
    """Return the positions of a setting's values on an axis, and plotly's options for its ticks.

    A choice has the position of its index from 0, and a value of a ``loguniform`` domain that of its
    logarithm to base 10; other numbers are their own positions.

    Args:
        domain: domain of the setting.
        values: values of the setting from its domain, one for each trial.

    Returns:
        The position of each value in order, and the keyword arguments ``tickvals`` and ``ticktext`` of
        ``update_xaxes``: all choices, escaped, or values of a ``loguniform`` domain, see `_log_ticks`.
        The keyword arguments are empty for ``uniform`` and ``randint``.
    """
    if domain.choice is not None:
        names = [plotting.escaped(str(choice)) for choice in domain.choice]
        ticks = {"tickvals": list(range(len(names))), "ticktext": names}
        return [float(domain.choice.index(value)) for value in values], ticks
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if domain.loguniform is None:
        return numbers, {}
    tickvals = _log_ticks(*(math.log10(end) for end in domain.loguniform))
    ticks = {"tickvals": tickvals, "ticktext": [f"{10**tick:.1e}" for tick in tickvals]}
    return [math.log10(number) for number in numbers], ticks


def _log_ticks(low: float, high: float) -> list[float]:
    """Return the whole numbers from ``low`` to ``high`` if there are at least three, else four values.

    The four values have equal distances, and ``low`` and ``high`` are among them.
    """
    decades = [float(tick) for tick in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]
    every = -(-len(decades) // 6)  # at most six labels
    return decades[::every] if len(decades) >= 3 else np.linspace(low, high, 4).tolist()


def domain_range(domain: Domain) -> tuple[float, float]:
    """Return the positions of both ends of a domain on an axis, see `axis_places`; low and high.

    The ends of a ``choice`` are the positions of its first and its last choice.
    """
    (low, high), _ = axis_places(domain, domain.ends())
    return low, high
