"""Render the page about a sweep as HTML."""

from __future__ import annotations

import dataclasses

from kpod_ray.report.html import Tile, fill
from kpod_ray.report.paired_words import comparison_in_words
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


@dataclasses.dataclass(frozen=True)
class TrialRow:
    """The formatted values of one trial, not escaped."""

    name: str
    """Id of the trial."""
    state: str
    """``finished``, ``stopped`` or ``failed``."""
    objective: str
    """Last value of the objective with four decimals; ``none`` if the objective was never measured."""
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
        "settings": [
            (path, value_text(finished[0].settings[path]), str(page.base.get(path)))
            for path in page.paths
            if finished
        ],
        "rows": trial_rows(page),
        "place": f"{place:.0f} %",
        "num_compared": len(compared),
    }
    return fill("sweep.html", context, sweep_figures(page))


def headline(page: SweepPage) -> str:
    """Return one or two sentences with the best and worst objective and the students' accuracies.

    The objectives are the last ones of the finished trials, the worst one only with two or more such
    trials; without any, one sentence says so. The accuracies on the test questions are left out unless
    ``page.accuracies`` has both ``untouched`` and ``best``, and the paired test
    is left out without ``page.gain``. The text isn't escaped.
    """
    finished = page.finished()
    if not finished:
        return "No trial was finished."
    best, worst = finished[0].score, finished[-1].score
    trials = "trial" if len(page.trials) == 1 else "trials"
    text = f"The best of {len(page.trials)} {trials} has a {page.objective} of {best:.4f}"
    if len(finished) > 1:
        text += f", the worst that was finished {worst:.4f}"
    if set(page.accuracies) == {"untouched", "best"}:
        before, after = (page.accuracies[name]["value"] for name in ("untouched", "best"))
        text += (
            f". Its student answers {after:.1%} of the test questions, the untouched {before:.1%}"
        )
    if page.gain is not None:
        text += f": {comparison_in_words(page.gain)}"
    return f"{text}."


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
            f"{saved_fraction(page.trials):.0%}",
            "of that of all trials to their end",
        ),
    ]
    if "best" in page.accuracies:
        share = page.accuracies["best"]
        interval = f"{share['low']:.1%} to {share['high']:.1%}, test questions"
        shown.append(Tile("Best student", f"{share['value']:.1%}", interval))
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
            f"{trial.score:.4f}" if trial.curve else "none",
            f"{trial.percent:.0f} %",
            tuple(value_text(trial.settings[path]) for path in page.paths),
            trial.error,
        )
        for trial in (*finished, *others)
    ]
