"""Rows about the contrasts of a comparison: plain values for JSON and W&B, and formatted texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kpod_ray.report.comparison.statistics import Contrast, Findings
from kpod_ray.report.comparison.wording import interval_text, verdict_text
from kpod_ray.report.formatting import p_text, signed_points


@dataclass(frozen=True, slots=True)
class ContrastRow:
    """The formatted values of one contrast, not escaped."""

    label: str
    """Name of the contrast, see `Findings.contrasts`."""
    verdict: str
    """``better``, ``worse`` or ``undecided``."""
    words: str
    """The verdict in words, see `verdict_text`."""
    difference: str
    """Difference of the accuracies in percentage points with its sign, without the unit."""
    interval: str
    """95 % interval of the difference, such as ``+1.0 to +5.2``; empty without any variance."""
    p_value: str
    """p-value of the comparison's test, not corrected."""
    adjusted_p: str
    """p-value corrected by Holm's method; the verdict depends on it."""
    mcnemar_p: str
    """p-value of McNemar's test, pooled over the seeds, not corrected."""
    discordance: str
    """Number of answers over all seeds that only the first arm has correct, and number that only the
    second has correct, such as ``12 : 7``."""


def contrast_rows(found: Findings) -> list[ContrastRow]:
    """Return a row of formatted texts for each contrast, in order."""
    return [contrast_row(label, one) for label, one in found.contrasts.items()]


def contrast_row(label: str, contrast: Contrast) -> ContrastRow:
    """Return the formatted texts of one contrast."""
    difference, discordance = contrast.difference, contrast.discordance
    return ContrastRow(
        label=label,
        verdict=contrast.verdict,
        words=verdict_text(contrast),
        difference=signed_points(difference.value),
        interval=interval_text(difference),
        p_value=p_text(difference.p_value),
        adjusted_p=p_text(contrast.adjusted_p),
        mcnemar_p=p_text(discordance.p_value),
        discordance=f"{discordance.num_better:,} : {discordance.num_worse:,}",
    )


def plain_contrasts(found: Findings) -> list[dict[str, Any]]:
    """Return a JSON-serialisable row for each contrast, in order.

    The keys are ``arm``, ``other``, ``verdict``; ``difference`` with ``_low`` and ``_high``, fractions;
    ``p`` and ``p_holm``; ``smallest_effect_alone`` and ``smallest_effect_among``, and ``seeds_needed``,
    see `Contrast`.
    """
    return [
        {
            "arm": one.arm,
            "other": one.other,
            "verdict": one.verdict,
            "difference": one.difference.value,
            "difference_low": one.difference.low,
            "difference_high": one.difference.high,
            "p": one.difference.p_value,
            "p_holm": one.adjusted_p,
            "smallest_effect_alone": one.effect_alone,
            "smallest_effect_among": one.effect_among,
            "seeds_needed": one.seeds_needed,
        }
        for one in found.contrasts.values()
    ]
