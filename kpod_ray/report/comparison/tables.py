"""Convert a comparison to rows: plain values for JSON and W&B, and formatted texts for the pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from kpod_ray.evaluation.statistics import Estimate
from kpod_ray.report.comparison.contrast_rows import contrast_row
from kpod_ray.report.comparison.data import ArmResults, ComparisonResults
from kpod_ray.report.comparison.further_sets import plain_further_sets
from kpod_ray.report.comparison.statistics import Findings, findings
from kpod_ray.report.comparison.training_rows import plain_training
from kpod_ray.report.comparison.wording import accuracy_text, interval_text
from kpod_ray.report.formatting import NO_VALUE, duration, number, percent, signed, signed_points


@dataclass(frozen=True, slots=True)
class ArmRow:
    """The formatted values of one arm, not escaped; costs are means over the seeds.

    For a value that the arm lacks, ``difference_interval``, ``discordance`` and ``overrides`` are empty,
    and the others a dash. The baseline lacks the difference and the p-values, and an arm that no
    contrast compares with the baseline the p-values.
    """

    name: str
    description: str
    """What the arm is, in one line."""
    verdict: str
    """``baseline``, ``better``, ``worse`` or ``undecided``; ``untested`` without a test against the
    baseline."""
    words: str
    """The verdict in words, see `verdict_text`; ``baseline``; or that no contrast tests the arm against
    the baseline."""
    accuracy: str
    """Accuracy in per cent, with the unit."""
    accuracy_interval: str
    """95 % interval of the accuracy in per cent, such as ``61.0 to 70.2``, without the unit."""
    num_seeds: str
    difference: str
    """Accuracy minus the baseline's, in percentage points with its sign, without the unit."""
    difference_interval: str
    """95 % interval of the difference, such as ``+1.0 to +5.2``, in percentage points."""
    p_value: str
    """p-value of the comparison's test, not corrected."""
    adjusted_p: str
    """p-value of the comparison's test, corrected by Holm's method; the verdict depends on it."""
    mcnemar_p: str
    """p-value of McNemar's test, pooled over the seeds, not corrected."""
    discordance: str
    """Number of answers over all seeds that only the arm has correct, and number that only the baseline
    has correct, such as ``12 : 7``."""
    supervised_tokens: str
    """Tokens in the loss over the whole training."""
    train_tokens: str
    """All tokens that went through the model in training."""
    train_steps: str
    seconds: str
    """Duration of the training with its unit, see `duration`."""
    width: str
    """Supervised tokens in per cent of the largest number of all arms, for CSS: the length of a bar;
    ``0.00`` without training."""
    overrides: str
    """Settings that the arm changes, as YAML."""
    keypoint_share: str
    """The keypoints' part of the loss weight of the rationales, in per cent, with the unit."""
    generated_minus_gold: str
    """Mean of the generated minus the gold reasoning steps, with its sign."""
    early_stops: str
    """Answers with fewer steps than the gold rationale, in per cent, with the unit."""


def comparison_rows(results: ComparisonResults) -> list[dict[str, Any]]:
    """Return a JSON-serialisable row for each arm, in the order of the results.

    The keys are:

    - ``arm`` (its name), ``verdict`` (see `ArmRow`), ``num_seeds``, ``num_questions``;
    - ``accuracy`` and ``difference`` (to the baseline) as fractions, each also with ``_low`` and
      ``_high``, the ends of the 95 % interval;
    - ``p``, ``p_holm`` and ``p_mcnemar_pooled``, p-values of the test against the baseline;
    - ``smallest_effect_alone`` and ``smallest_effect_among``, see `Contrast`, as fractions;
    - ``supervised_tokens``, ``train_tokens``, ``train_steps``, ``train_seconds``, ``keypoint_share``,
      ``generated_minus_gold`` and ``early_stops``, see `ArmResults`: means over the seeds;
    - those of `plain_training` and `plain_further_sets`.

    The differences are None for the baseline, the p-values and smallest effects without a test against
    the baseline, and the costs for an arm without training.
    """
    found = findings(results)
    return [
        {
            **_plain_row(arm, accuracy, found),
            "verdict": _verdict(arm, results, found),
            **plain_training(arm, found.costs.get(arm.name)),
            **plain_further_sets(arm, results),
        }
        for arm, accuracy in zip(results.arms, found.accuracies, strict=True)
    ]


def _plain_row(arm: ArmResults, accuracy: Estimate, found: Findings) -> dict[str, Any]:
    difference, contrast = found.to_baseline.get(arm.name), found.contrasts.get(arm.name)
    row = {
        "arm": arm.name,
        "accuracy": accuracy.value,
        "accuracy_low": accuracy.low,
        "accuracy_high": accuracy.high,
        "num_seeds": arm.num_seeds,
        "num_questions": arm.correct.shape[1],
        "difference": difference and difference.value,
        "difference_low": difference and difference.low,
        "difference_high": difference and difference.high,
        "p": contrast and contrast.difference.p_value,
        "p_holm": contrast and contrast.adjusted_p,
        "p_mcnemar_pooled": contrast and contrast.discordance.p_value,
        "smallest_effect_alone": contrast and contrast.effect_alone,
        "smallest_effect_among": contrast and contrast.effect_among,
    }
    costs = ("supervised_tokens", "train_tokens", "train_steps", "train_seconds")
    names = (*costs, "keypoint_share", "generated_minus_gold", "early_stops")
    return row | {name: mean_cost(getattr(arm, name)) for name in names}


def _verdict(arm: ArmResults, results: ComparisonResults, found: Findings) -> str:
    """Return the verdict on an arm against the baseline, see `ArmRow.verdict`."""
    if arm.name in found.contrasts:
        return found.contrasts[arm.name].verdict
    return "baseline" if arm.name == results.baseline else "untested"


def mean_cost(per_seed: Sequence[float]) -> float | None:
    """Return the mean of a number over the seeds; None for an empty sequence."""
    return sum(per_seed) / len(per_seed) if per_seed else None


def arm_rows(results: ComparisonResults, found: Findings) -> list[ArmRow]:
    """Return a row of formatted texts for each arm, the baseline included, in the order of the results.

    ``found`` holds the `findings` of the results.
    """
    longest = max((mean_cost(arm.supervised_tokens) or 0 for arm in results.arms), default=0)
    rows = []
    for arm, accuracy in zip(results.arms, found.accuracies, strict=True):
        share, interval = accuracy_text(accuracy.value, accuracy.low, accuracy.high)
        tokens = mean_cost(arm.supervised_tokens) or 0
        seconds = mean_cost(arm.train_seconds)
        rows.append(
            ArmRow(
                name=arm.name,
                description=arm.description,
                accuracy=share,
                accuracy_interval=interval,
                num_seeds=str(arm.num_seeds),
                supervised_tokens=_count(mean_cost(arm.supervised_tokens)),
                train_tokens=_count(mean_cost(arm.train_tokens)),
                train_steps=_count(mean_cost(arm.train_steps)),
                seconds=NO_VALUE if seconds is None else duration(seconds),
                width=f"{100 * tokens / longest if longest else 0:.2f}",
                overrides=yaml.safe_dump(dict(arm.overrides), sort_keys=False)
                if arm.overrides
                else "",
                keypoint_share=percent(_mean(arm.keypoint_share)),
                generated_minus_gold=signed(_mean(arm.generated_minus_gold), 2),
                early_stops=percent(_mean(arm.early_stops)),
                verdict=_verdict(arm, results, found),
                **_contrast_texts(arm.name, results, found),
            )
        )
    return rows


def _mean(per_seed: Sequence[float]) -> float:
    """Return the mean over the seeds; NaN for an empty sequence."""
    return sum(per_seed) / len(per_seed) if per_seed else math.nan


def _contrast_texts(name: str, results: ComparisonResults, found: Findings) -> dict[str, str]:
    """Return the fields of `ArmRow` about an arm's difference to the baseline and its test."""
    tested = ("p_value", "adjusted_p", "mcnemar_p")
    if name == results.baseline:
        dashes = dict.fromkeys(("difference", *tested), NO_VALUE)
        return {"words": "baseline", "difference_interval": "", "discordance": "", **dashes}
    difference = found.to_baseline[name]
    texts = {
        "difference": signed_points(difference.value),
        "difference_interval": interval_text(difference),
    }
    if name not in found.contrasts:
        words = f"not tested against {results.baseline}"
        return {"words": words, "discordance": "", **texts, **dict.fromkeys(tested, NO_VALUE)}
    row = contrast_row(name, found.contrasts[name])
    names = ("words", "discordance", *tested)
    return {**texts, **{field: getattr(row, field) for field in names}}


def _count(value: float | None) -> str:
    return NO_VALUE if value is None else number(value, 0)
