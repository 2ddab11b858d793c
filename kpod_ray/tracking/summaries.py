"""What a tracker is told of something finished, in types that no tracker owns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kpod_ray.report.plotting import Histogram


@dataclasses.dataclass(frozen=True, slots=True)
class Markup:
    """A cell of a table that is HTML; whoever makes it has escaped what it holds."""

    html: str


@dataclasses.dataclass(frozen=True)
class PhaseSummary:
    """What is known of something that is finished; all names are the tracker's keys."""

    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)
    curves: Sequence[Mapping[str, float]] = ()
    """Rows of curves, in order; each holds the value of its x-axis, see `run.X_AXES`."""
    histograms: Mapping[str, Histogram] = dataclasses.field(default_factory=dict)
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
    """Rows that all have the same columns; a cell is a text, a number, None or `Markup`."""
    pages: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Self-contained HTML pages."""
    outcome: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Numbers that runs are compared by."""
    artifact: tuple[str, str] | None = None
    """Phase and address of a folder that is referred to, and never sent."""


def kept_samples_fraction(manifest: Mapping[str, Any]) -> float | None:
    """Return the share of the teacher's samples that are kept; None without samples."""
    num_samples = manifest["counts"].get("samples")
    return manifest["verdicts"].get("kept", 0) / num_samples if num_samples else None
