"""Render the page about a sweep as HTML."""

from __future__ import annotations

import dataclasses

from kpod_ray.report.formatting import NO_VALUE, percent
from kpod_ray.report.html import Tile, fill
from kpod_ray.report.sweep.data import (
    FAILED,
    FINISHED,
    STOPPED,
    SweepPage,
    common_stage,
    saved_fraction,
    value_text,
)
from kpod_ray.report.sweep.figures import sweep_figures
from kpod_ray.report.sweep.wording import cautions, headline, percent_done


@dataclasses.dataclass(frozen=True)
class TrialRow:
    """The formatted values of one trial, not escaped."""

    name: str
    """Id of the trial."""
    state: str
    """``finished``, ``stopped`` or ``failed``."""
    objective: str
    """Last value of the objective with four decimals; a dash if the objective was never measured."""
    percent: str
    """Percentage of the training that was done at the last value of the objective, with the unit."""
    values: tuple[str, ...]
    """Values of the varied settings, see `value_text`, in the order of `SweepPage.paths`."""
    error: str
    """Last line of the error of a failed trial; else empty."""


def render_sweep(page: SweepPage) -> str:
    """Return the page about a sweep as one HTML document with escaped texts; see `fill`.

    Optuna's logging is set as in `importances`.

    Raises:
        ValueError: As in `importances`.
    """
    finished = page.finished()
    place, compared = common_stage(page.trials)
    context = {
        "results": page,
        "headline": headline(page),
        "tiles": tiles(page),
        "cautions": cautions(page),
        "settings": [
            (path, value_text(finished[0].settings[path]), _base_text(page, path))
            for path in page.paths
            if finished
        ],
        "rows": trial_rows(page),
        "place": percent_done(place),
        "num_compared": len(compared),
    }
    return fill("sweep.html", context, sweep_figures(page))


def _base_text(page: SweepPage, path: str) -> str:
    """Return the value of a setting in the sweep's own config."""
    value = page.base.get(path)
    return value_text(value) if isinstance(value, float) else str(value)


def tiles(page: SweepPage) -> list[Tile]:
    """Return the numbers at the top of the page: trials, early stopping, and the best student.

    The best student's accuracy on the test questions, with its interval, is left out if
    ``page.accuracies`` lacks ``best``. The saved training is that of `saved_fraction`.
    """
    counts = {s: sum(t.state == s for t in page.trials) for s in (FINISHED, STOPPED, FAILED)}
    states = f"{counts[FINISHED]} finished, {counts[FAILED]} failed"
    shown = [
        Tile("Trials", str(len(page.trials)), states),
        Tile("Stopped early", str(counts[STOPPED]), f"by {page.sweep.early_stopping}"),
        Tile(
            "Training saved",
            percent(saved_fraction(page.trials)),
            "of that of all trials to their end",
        ),
    ]
    if "best" in page.accuracies:
        share = page.accuracies["best"]
        interval = f"{percent(share['low'])} to {percent(share['high'])}, test questions"
        shown.append(Tile("Best student", percent(share["value"]), interval))
    return shown


def trial_rows(page: SweepPage) -> list[TrialRow]:
    """Return a row for each trial: those of `SweepPage.finished` in its order, then all the others.

    The others (stopped, failed, and finished without an objective) are in falling order of
    `SweepTrial.percent`.
    """
    finished = page.finished()
    others = [trial for trial in page.trials if trial not in finished]
    others.sort(key=lambda trial: -trial.percent)
    return [
        TrialRow(
            trial.trial_id,
            trial.state,
            f"{trial.score:.4f}" if trial.curve else NO_VALUE,
            percent_done(trial.percent),
            tuple(value_text(trial.settings[path]) for path in page.paths),
            trial.error,
        )
        for trial in (*finished, *others)
    ]
