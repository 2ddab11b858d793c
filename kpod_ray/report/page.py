"""The page about one run."""

from __future__ import annotations

from kpod_ray.report import view
from kpod_ray.report.document import fill
from kpod_ray.report.figures import figures_of
from kpod_ray.report.results import RunResults
from kpod_ray.report.summary import tiles
from kpod_ray.report.tokens import Scale
from kpod_ray.report.wording import verdict_line


def render(results: RunResults) -> str:
    """Return the report of a run as the text of one HTML file, to be written as UTF-8.

    The same results give the same text. It is about 5 MB, nearly all of it plotly.js.
    """
    shown = results.weighted_rationales[: view.MAX_RATIONALES]
    scale = Scale.of(shown)
    context = {
        "results": results,
        "verdict_line": verdict_line(results.accuracies),
        "tiles": tiles(results),
        "scale": scale,
        "accuracy_rows": view.accuracy_rows(results),
        "verdict_rows": view.verdict_rows(results.verdict_counts),
        "num_rationales": sum(results.verdict_counts.values()),
        "reject_groups": view.reject_groups(results.rejects),
        "rationales": view.shown_rationales(results, scale),
        "question_text": view.question_text,
        "predictions": view.shown_predictions(results),
        "prediction_counts": view.prediction_counts(results),
        "phase_rows": view.phase_rows(results.phase_seconds),
        "num_seconds": sum(results.phase_seconds.values()),
    }
    return fill("page.html", context, figures_of(results))
