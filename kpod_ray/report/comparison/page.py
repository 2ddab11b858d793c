"""Render the page about a comparison as HTML."""

from __future__ import annotations

from kpod_ray.report.comparison.contrast_rows import contrast_rows
from kpod_ray.report.comparison.data import ComparisonResults
from kpod_ray.report.comparison.figures import comparison_figures
from kpod_ray.report.comparison.further_sets import further_set_table
from kpod_ray.report.comparison.headline import cautions, headline, leading_arms, verdicts
from kpod_ray.report.comparison.statistics import Findings, findings
from kpod_ray.report.comparison.step_groups import step_cells, step_groups
from kpod_ray.report.comparison.tables import arm_rows
from kpod_ray.report.comparison.training_rows import are_measured, training_rows
from kpod_ray.report.comparison.wording import (
    interval_text,
    notes,
    sensitivity,
    smallest_effect_tile,
)
from kpod_ray.report.formatting import points
from kpod_ray.report.html import Tile, fill


def render_comparison(results: ComparisonResults) -> str:
    """Return the page about a comparison as one HTML document with escaped texts; see `fill`."""
    found = findings(results)
    groups = step_groups(results)
    names = {arm.name for arm in results.arms}
    trainings = training_rows(results, found)
    rows = arm_rows(results, found)
    context = {
        "results": results,
        "headline": headline(results, found),
        "leading_arms": [results.arm(name) for name in leading_arms(results, found)],
        "cautions": cautions(results),
        "verdicts": verdicts(found),
        "sensitivity": sensitivity(results, found),
        "tiles": tiles(results, found),
        "notes": notes(results),
        "arm_rows": rows,
        "trained_rows": [row for row in rows if results.arm(row.name).train_steps],
        "other_contrasts": [row for row in contrast_rows(found) if row.label not in names],
        "training_rows": trainings,
        "are_measured": are_measured(trainings),
        "further_sets": further_set_table(results),
        "step_groups": groups,
        "step_cells": step_cells(results, groups),
    }
    return fill("comparison.html", context, comparison_figures(results, found, groups))


def tiles(results: ComparisonResults, found: Findings) -> list[Tile]:
    """Return the numbers at the top of the page: arms, seeds, questions, smallest effect, equal cost.

    ``found`` holds the `findings` of the results. The smallest effect, see `smallest_effect_tile`, is
    left out without an arm beside the baseline, and the difference of the best arm at equal cost where
    none is known.
    """
    trained = sum(bool(arm.train_steps) for arm in results.arms)
    shown = [
        Tile("Arms", str(len(results.arms)), f"{trained} trained"),
        Tile("Seeds", str(len(results.seeds)), "for each trained arm"),
        Tile("Questions", f"{results.num_questions:,}", "answered by every arm"),
    ]
    if found.contrasts:
        shown.append(smallest_effect_tile(found))
    return [*shown, *_equal_cost_tiles(results, found)]


def _equal_cost_tiles(results: ComparisonResults, found: Findings) -> list[Tile]:
    """Return the tile of the best arm's difference to the baseline at equal cost, if it is known."""
    best = leading_arms(results, found)[0]
    cost = found.costs.get(best)
    difference = cost.difference if cost else None
    if difference is None or best == results.baseline:
        return []
    texts = [text for text in (interval_text(difference), "no test") if text]
    return [Tile("At equal cost", points(difference.value), ", ".join(texts))]
