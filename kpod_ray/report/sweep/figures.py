"""The plotly figures of a sweep.

The functions of single figures need data; `sweep_figures` leaves out figures without data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kpod_ray.report import plotting
from kpod_ray.report.plotting import BLUE, GREY, ORANGE, RED
from kpod_ray.report.sweep.axes import axis_places, domain_range
from kpod_ray.report.sweep.data import FAILED, STOPPED, SweepPage, SweepTrial, common_stage
from kpod_ray.report.sweep.importance import importances
from kpod_ray.report.sweep.parallel import parallel_figure

ROW_HEIGHT = 190
"""Height of the panel of one setting, in pixels."""


def sweep_figures(page: SweepPage) -> dict[str, go.Figure]:
    """Return name -> figure of every figure that has data.

    The names are ``curves`` (if a trial has a curve), ``parallel``, ``slices`` and ``importance``. The
    last three are of the trials in `common_stage`, with the objectives at that point, if there are at
    least two such trials; ``importance`` is also left out if `importances` is empty.

    Raises:
        ValueError: As in `importances`.
    """
    _, objectives = common_stage(page.trials)
    compared = [trial for trial in page.trials if trial.trial_id in objectives]
    figures = {}
    if len(compared) > 1:
        values = [objectives[trial.trial_id] for trial in compared]
        figures["parallel"] = parallel_figure(page, compared, values)
        shares = importances(page.sweep.space, [trial.settings for trial in compared], values)
        if shares:
            figures["importance"] = importance_figure(shares)
        figures["slices"] = slices_figure(page, compared, values)
    if any(trial.curve for trial in page.trials):
        figures["curves"] = curves_figure(page)
    return figures


def importance_figure(shares: Mapping[str, float]) -> go.Figure:
    """Return a figure of the share of the objective's variance by setting, in per cent, as bars.

    ``shares`` holds the fractions of `importances`, drawn from top to bottom.
    """
    names = [plotting.escaped(path) for path in shares]
    bars = go.Bar(
        x=[100 * share for share in shares.values()],
        y=list(range(len(shares))),
        orientation="h",
        marker={"color": BLUE},
        hovertemplate="%{x:.0f} %<extra></extra>",
    )
    figure = plotting.figure_of(
        [bars], "share of the variance, %", "", height=90 + 38 * len(shares)
    )
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.4, -0.6]
    )
    return figure.update_layout(showlegend=False).update_yaxes(showgrid=False)


def slices_figure(
    page: SweepPage, trials: Sequence[SweepTrial], objectives: Sequence[float]
) -> go.Figure:
    """Return a figure of the objective against each setting, one panel for each; a point is a trial.

    An axis reaches over the setting's whole domain. The best trial (`SweepPage.best`) is orange, trials
    that were stopped early are grey, the others blue. ``objectives`` holds the objective of each of
    ``trials``, at a point of the training that all of them reached.
    """
    figure = make_subplots(len(page.paths), 1, vertical_spacing=0.38 / max(1, len(page.paths)))
    best = page.best()
    colors = [_role(trial, best)[1] for trial in trials]
    plotting.styled(figure, "", page.objective, height=80 + ROW_HEIGHT * len(page.paths))
    for row, path in enumerate(page.paths, start=1):
        places, ticks = axis_places(page.sweep.space[path], [t.settings[path] for t in trials])
        points = go.Scatter(x=places, y=list(objectives), mode="markers")
        points.marker = {"size": 9, "color": colors}
        points.customdata = [plotting.escaped(str(trial.settings[path])) for trial in trials]
        points.hovertemplate = "%{customdata}: %{y:.4f}<extra></extra>"
        figure.add_trace(points, row, 1)
        low, high = domain_range(page.sweep.space[path])
        margin = 0.04 * (high - low) or 0.5
        figure.update_xaxes(range=[low - margin, high + margin], row=row, col=1)
        figure.update_xaxes(title_text=plotting.escaped(path), row=row, col=1, **ticks)
    return figure.update_layout(showlegend=False)


def curves_figure(page: SweepPage) -> go.Figure:
    """Return a figure of every trial's objective against the percentage of its training that was done.

    Trials without a curve are left out. The best trial (`SweepPage.best`) is orange and
    drawn on top of the others. Other finished trials are blue, trials that were stopped early grey and
    failed ones red.
    """
    best = page.best()
    drawn = sorted(
        (t for t in page.trials if t.curve), key=lambda t: (t.trial_id == best, t.percent)
    )
    traces, named = [], set[str]()
    for trial in drawn:
        name, color = _role(trial, best)
        hover = f"{plotting.escaped(trial.trial_id)}, %{{x:.0f}} %: %{{y:.4f}}"
        x, y = zip(*trial.curve, strict=True)
        curve = plotting.line(x, y, name, color, hover)
        curve.update(mode="lines+markers", marker_size=5, legendgroup=name)
        curve.update(showlegend=name not in named, line_width=3 if name == "best" else 1.6)
        named.add(name)
        traces.append(curve)
    figure = plotting.figure_of(traces, "training done, %", page.objective, height=400)
    return figure.update_xaxes(range=[0, 102])


def _role(trial: SweepTrial, best: str) -> tuple[str, str]:
    """Return the name of a trial's group in the legend, and the group's colour."""
    if trial.trial_id == best:
        return "best", ORANGE
    if trial.state == STOPPED:
        return "stopped early", GREY
    return ("failed", RED) if trial.state == FAILED else ("finished", BLUE)
