"""Numbers that are known, estimated or only bounded, and the time of work from earlier measurements."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

_LARGER = 2.0
"""Two measurements whose numbers of items differ by at least this factor separate the fixed part of a
phase's time from the part that grows with the items."""


@dataclasses.dataclass(frozen=True)
class Amount:
    """A number that is not negative, and how well it is known.

    The text is ``1,234``, ``about 1,234``, ``at most 1,234`` or ``at most about 1,234``. Sums and
    products of amounts are known as well as the part that is known worst.
    """

    value: float
    is_bound: bool = False
    """Whether the true number may be any smaller one."""
    is_rough: bool = False
    """Whether the number is scaled from a sample or from other runs."""

    def __add__(self, other: Amount) -> Amount:
        return self._with(self.value + other.value, other)

    def __mul__(self, other: Amount | float) -> Amount:
        factor = other if isinstance(other, Amount) else Amount(other)
        return self._with(self.value * factor.value, factor)

    def in_batches(self, size: int) -> Amount:
        """Return the number of batches of at most ``size``, at least 1, that hold this many rows."""
        return dataclasses.replace(self, value=math.ceil(self.value / size))

    def as_bound(self) -> Amount:
        """Return this number as the largest possible one."""
        return dataclasses.replace(self, is_bound=True)

    def prefix(self) -> str:
        """Return how well the number is known, with a blank at the end; empty for a known number."""
        return "at most " * self.is_bound + "about " * self.is_rough

    def __str__(self) -> str:
        return f"{self.prefix()}{round(self.value):,}"

    def _with(self, value: float, other: Amount) -> Amount:
        return Amount(value, self.is_bound or other.is_bound, self.is_rough or other.is_rough)


def spaced(num_all: int, most: int) -> list[int]:
    """Return ``min(num_all, most)`` different indices below ``num_all``, in order, evenly spaced."""
    num = min(num_all, most)
    return [index * num_all // num for index in range(num)]


def scaled_sum(values: Sequence[float], num_all: int) -> Amount:
    """Return the sum over ``num_all`` rows, of which the values of some are given.

    The sum is exact if the values of all rows are given; otherwise the other rows count with the mean of
    the given ones. Without rows the sum is 0; some value must be given if there are rows.
    """
    if len(values) == num_all:
        return Amount(sum(values))
    return Amount(sum(values) / len(values) * num_all, is_rough=True)


@dataclasses.dataclass(frozen=True)
class Measured:
    """The time that an earlier run needed for a number of items, such as samples or train steps."""

    items: float
    seconds: float
    source: str
    """Folder of the artifact that was measured, relative to the store's root."""


def expected_seconds(items: Amount, measured: Sequence[Measured]) -> Amount | None:
    """Return the seconds that a number of items takes, from measurements of the same work.

    The time is taken as a fixed part, such as the start of an engine, plus a part that is proportional
    to the items; neither is negative. Two measurements of different size give both parts, and the result
    is an estimate. Otherwise the parts aren't known, and the result is a bound: the time of the largest
    measurement, whole for fewer items, and in proportion for more.

    Args:
        items: number of items.
        measured: measurements of the same work; those of no items are ignored.

    Returns:
        The seconds, which are rough; None without a measurement.
    """
    usable = sorted((m for m in measured if m.items > 0), key=lambda m: m.items)
    if not usable:
        return None
    small, large = usable[0], usable[-1]
    fit = _line(small, large) if large.items >= _LARGER * small.items else None
    if fit is not None:
        fixed, rate = fit
        return dataclasses.replace(items, value=fixed + rate * items.value, is_rough=True)
    seconds = large.seconds * max(1.0, items.value / large.items)
    return Amount(seconds, is_bound=True, is_rough=True)


def _line(small: Measured, large: Measured) -> tuple[float, float] | None:
    """Return the fixed seconds and the seconds of an item; None if one of them is negative."""
    rate = (large.seconds - small.seconds) / (large.items - small.items)
    fixed = small.seconds - rate * small.items
    return (fixed, rate) if fixed >= 0 and rate >= 0 else None


def total(amounts: Sequence[Amount | None]) -> Amount | None:
    """Return the sum of the known amounts, None if none is known."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known[1:], known[0]) if known else None
