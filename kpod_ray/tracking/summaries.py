"""The summary of a finished phase or page that a tracker logs, in types independent of W&B."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kpod_ray.report.plotting import Histogram


@dataclasses.dataclass(frozen=True, slots=True)
class Markup:
    """A table cell whose HTML is shown as it is: the caller has escaped the texts in the HTML."""

    html: str


@dataclasses.dataclass(frozen=True)
class PhaseSummary:
    """What a tracker logs once about a finished phase or page. The mappings' keys are W&B's keys."""

    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Counts, times and other values of the phase, by keys ``phase/NAME/KEY``."""
    curves: Sequence[Mapping[str, float]] = ()
    """Points of curves, in order; each holds the value of its x-axis, too, see `wandb_run.X_AXES`."""
    histograms: Mapping[str, Histogram] = dataclasses.field(default_factory=dict)
    """Histograms of all values of the phase, without examples."""
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
    """Rows of each table, all with the same columns; a cell is a text, a number, None or `Markup`."""
    pages: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Texts of self-contained HTML pages."""
    outcome: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Numbers by which runs are compared, such as the accuracy."""
    artifact: tuple[str, str] | None = None
    """Phase and address of the artifact's folder; W&B stores the address, not the content."""


def kept_samples_fraction(manifest: Mapping[str, Any]) -> float | None:
    """Return the fraction of the teacher's samples with the verdict ``kept``, in [0, 1].

    The argument is the manifest of any finished artifact. The result is None if the manifest's count
    ``samples`` is 0 or missing, as in other phases than the teacher's.
    """
    num_samples = manifest["counts"].get("samples")
    return manifest["verdicts"].get("kept", 0) / num_samples if num_samples else None
