"""The page about a comparison of arms."""

from __future__ import annotations

from kpod_ray.report.comparison_figures import comparison_figures
from kpod_ray.report.comparison_findings import Findings, findings, step_groups
from kpod_ray.report.comparison_results import ComparisonResults
from kpod_ray.report.comparison_rows import arm_rows, step_cells
from kpod_ray.report.comparison_wording import headline, notes, sensitivity, smallest_effect_tile
from kpod_ray.report.document import fill
from kpod_ray.report.summary import Tile


def render_comparison(results: ComparisonResults) -> str:
    """Return the page about a comparison as the text of one HTML file, to be written as UTF-8.

    The same results give the same text. It is about 5 MB, nearly all of it plotly.js.
    """
    found = findings(results)
    groups = step_groups(results)
    context = {
        "results": results,
        "headline": headline(results, found),
        "sensitivity": sensitivity(results, found),
        "tiles": tiles(results, found),
        "notes": notes(results),
        "is_trained": any(arm.train_steps for arm in results.arms),
        "arm_rows": arm_rows(results, found),
        "step_groups": groups,
        "step_cells": step_cells(results, groups),
    }
    return fill("comparison.html", context, comparison_figures(results, found, groups))


def tiles(results: ComparisonResults, found: Findings) -> list[Tile]:
    """Return the few numbers at the top of the page."""
    trained = sum(bool(arm.train_steps) for arm in results.arms)
    shown = [
        Tile("Arms", str(len(results.arms)), f"{trained} trained"),
        Tile("Seeds", str(len(results.seeds)), "for each trained arm"),
        Tile("Questions", f"{results.num_questions:,}", "answered by every arm"),
    ]
    return [*shown, smallest_effect_tile(found)] if found.contrasts else shown
