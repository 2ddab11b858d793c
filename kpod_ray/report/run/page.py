"""Render the HTML report of one run."""

from __future__ import annotations

import math

from kpod_ray.records import USED_VERDICTS
from kpod_ray.report.formatting import NO_BREAK_SPACE, duration, number, percent, signed_points
from kpod_ray.report.html import Tile, fill
from kpod_ray.report.paired_words import interval_in_points
from kpod_ray.report.run import tables
from kpod_ray.report.run.accuracy_rows import accuracy_rows, further_set_rows, gold_step_rows
from kpod_ray.report.run.data import RunResults
from kpod_ray.report.run.figures import figures_of
from kpod_ray.report.run.wording import verdict_line


def render(results: RunResults) -> str:
    """Return the report of a run as one HTML document with escaped texts; see `fill`.

    Long questions, predictions and rejected rationales are clipped, and long lists are cut. Sections
    without data say so.
    """
    context = {
        "results": results,
        "verdict_line": verdict_line(results.accuracies),
        "tiles": tiles(results),
        "cautions": [f"{name}: {text}" for name, text in results.warnings.items()],
        "accuracy_rows": accuracy_rows(results),
        "further_set_rows": further_set_rows(results),
        "gold_step_rows": gold_step_rows(results),
        "verdict_rows": tables.verdict_rows(results.verdict_counts),
        "num_rationales": sum(results.verdict_counts.values()),
        "reject_groups": tables.reject_groups(results.rejects),
        "rationales": tables.shown_rationales(results),
        "question_text": tables.question_text,
        "predictions": tables.shown_predictions(results),
        "num_predictions": max(len(results.predictions), len(results.correct_pairs)),
        "prediction_counts": tables.prediction_counts(results),
        "phase_rows": tables.phase_rows(results.phase_seconds),
        "num_seconds": sum(results.phase_seconds.values()),
    }
    return fill("page.html", context, figures_of(results))


def tiles(results: RunResults) -> list[Tile]:
    """Return the numbers at the top of the report, for those results that aren't empty.

    The tiles are, in this order: the last model's accuracy and, if both answered a question, its
    difference to the first model's with its 95 % interval; the rationales with a verdict in
    `USED_VERDICTS`; the reasoning steps with the mean of their finite difficulties; the number of the
    last train step, with the number of stages; and the sum of the phases' seconds.
    """
    makers = (_accuracy_tiles, _rationale_tiles, _training_tiles, _time_tiles)
    return [tile for make in makers for tile in make(results)]


def _accuracy_tiles(results: RunResults) -> list[Tile]:
    if not results.accuracies:
        return []
    after = results.accuracies[-1]
    remark = f"{after.num_correct:,} of {after.num_questions:,} test questions"
    shown = [Tile("Accuracy", percent(after.share), remark)]
    test = after.against_first
    if test is not None:
        interval = interval_in_points(test)
        remark = f"{interval} at 95{NO_BREAK_SPACE}%" if interval else "the same answers are right"
        shown.append(Tile("Difference in points", signed_points(test.difference.value), remark))
    return shown


def _rationale_tiles(results: RunResults) -> list[Tile]:
    total = sum(results.verdict_counts.values())
    used = sum(results.verdict_counts.get(verdict, 0) for verdict in USED_VERDICTS)
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
    count = len(results.phase_seconds)
    remark = f"{count} {'phase' if count == 1 else 'phases'}"
    return [Tile("Time", duration(seconds), remark)] if results.phase_seconds else []
