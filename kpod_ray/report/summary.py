"""The few numbers at the top of the page; a number that is not known is left out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kpod_ray.report.results import RunResults
from kpod_ray.report.wording import duration, number, percent, signed_points


@dataclass(frozen=True, slots=True)
class Tile:
    """One number of the summary."""

    name: str
    value: str
    remark: str


def tiles(results: RunResults) -> list[Tile]:
    """Return the numbers of the summary, those there are."""
    makers = (_accuracy_tiles, _rationale_tiles, _training_tiles, _time_tiles)
    return [tile for make in makers for tile in make(results)]


def _accuracy_tiles(results: RunResults) -> list[Tile]:
    if not results.accuracies:
        return []
    before, after = results.accuracies[0], results.accuracies[-1]
    remark = f"{after.num_correct:,} of {after.num_questions:,} test questions"
    shown = [Tile("Accuracy", percent(after.share), remark)]
    if before is not after:
        remark = f"from {percent(before.share)} before"
        shown.append(
            Tile("Difference in points", signed_points(after.share - before.share), remark)
        )
    return shown


def _rationale_tiles(results: RunResults) -> list[Tile]:
    total = sum(results.verdict_counts.values())
    used = sum(results.verdict_counts.get(verdict, 0) for verdict in ("kept", "reference"))
    return [Tile("Rationales used", f"{used:,}", f"of {total:,}")] if total else []


def _training_tiles(results: RunResults) -> list[Tile]:
    shown = []
    difficulties = [d for steps in results.step_difficulties.values() for d in steps]
    if difficulties:
        known = [d for d in difficulties if math.isfinite(d)]
        mean = number(sum(known) / len(known) if known else math.nan, 2)
        shown.append(Tile("Reasoning steps", f"{len(difficulties):,}", f"mean {mean} nats"))
    if results.train_history:
        last = results.train_history[-1]
        stages = len({point.stage for point in results.train_history})
        unit = "stage" if stages == 1 else "stages"
        shown.append(Tile("Train steps", f"{last.train_step:,}", f"in {stages:,} {unit}"))
    return shown


def _time_tiles(results: RunResults) -> list[Tile]:
    seconds = sum(results.phase_seconds.values())
    remark = f"{len(results.phase_seconds)} phases"
    return [Tile("Time", duration(seconds), remark)] if results.phase_seconds else []
