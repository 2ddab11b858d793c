"""The figures of a sweep as plotly figures.

Better trials are darker in all of them; the best one is orange. `sweep_figures` leaves out figures
without data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kpod_ray.config import Domain, Value
from kpod_ray.data.trials import FAILED, STOPPED, SweepTrial
from kpod_ray.report import drawing
from kpod_ray.report.drawing import BLUE, GREY, ORANGE
from kpod_ray.report.sweep_importance import importances
from kpod_ray.report.sweep_results import SweepPage, common_stage

SCALE = [[0.0, "rgb(20, 52, 110)"], [0.5, "rgb(74, 140, 220)"], [1.0, "rgb(196, 216, 240)"]]
"""Best to worst."""
ROW_HEIGHT = 150
"""Height of the panel of one setting, in pixels."""


def sweep_figures(page: SweepPage) -> dict[str, go.Figure]:
    """Return every figure that has data, by name."""
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


def parallel_figure(
    page: SweepPage, trials: Sequence[SweepTrial], objectives: Sequence[float]
) -> go.Figure:
    """Draw every trial as a line through its settings to its objective."""
    dimensions = [
        _dimension(path, page.sweep.space[path], [trial.settings[path] for trial in trials])
        for path in page.paths
    ]
    dimensions.append({"label": page.objective, "values": list(objectives)})
    lines = go.Parcoords(
        dimensions=dimensions,
        line={
            "color": list(objectives),
            "colorscale": SCALE,
            "reversescale": not page.is_lower_better,
        },
        labelangle=-12,
        labelside="bottom",
    )
    figure = drawing.figure_of([lines], "", "", height=430)
    return figure.update_layout(margin={"l": 60, "r": 60, "t": 30, "b": 70})


def _dimension(path: str, domain: Domain, values: Sequence[Value]) -> dict[str, Any]:
    """Return the axis of one setting; orders of magnitude are evenly apart, texts are places."""
    label = drawing.escaped(path.rpartition(".")[2])
    places, ticks = axis_places(domain, values)
    return {"label": label, "values": places, **ticks}


def axis_places(domain: Domain, values: Sequence[Value]) -> tuple[list[float], dict[str, Any]]:
    """Return where values lie on an axis, and its ticks if they aren't the numbers themselves."""
    if domain.choice is not None:
        names = [drawing.escaped(str(choice)) for choice in domain.choice]
        ticks = {"tickvals": list(range(len(names))), "ticktext": names}
        return [float(domain.choice.index(value)) for value in values], ticks
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if domain.loguniform is None:
        return numbers, {}
    low, high = (math.log10(end) for end in domain.loguniform)
    tickvals = np.linspace(low, high, 4).tolist()
    ticks = {"tickvals": tickvals, "ticktext": [f"{10**tick:.1e}" for tick in tickvals]}
    return [math.log10(number) for number in numbers], ticks


def importance_figure(shares: Mapping[str, float]) -> go.Figure:
    """Draw the share of the objective's variance that each setting accounts for, in per cent."""
    names = [drawing.escaped(path) for path in shares]
    bars = go.Bar(
        x=[100 * share for share in shares.values()],
        y=list(range(len(shares))),
        orientation="h",
        marker={"color": BLUE},
        hovertemplate="%{x:.0f} %<extra></extra>",
    )
    figure = drawing.figure_of([bars], "share of the variance, %", "", height=90 + 38 * len(shares))
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.4, -0.6]
    )
    return figure.update_layout(showlegend=False).update_yaxes(showgrid=False)


def slices_figure(
    page: SweepPage, trials: Sequence[SweepTrial], objectives: Sequence[float]
) -> go.Figure:
    """Draw the objective against each setting, one panel a setting."""
    figure = make_subplots(len(page.paths), 1, vertical_spacing=0.28 / max(1, len(page.paths)))
    stopped = [trial.state == STOPPED for trial in trials]
    drawing.styled(figure, "", page.objective, height=80 + ROW_HEIGHT * len(page.paths))
    for row, path in enumerate(page.paths, start=1):
        places, ticks = axis_places(page.sweep.space[path], [t.settings[path] for t in trials])
        points = go.Scatter(x=places, y=list(objectives), mode="markers")
        points.marker = {"size": 9, "color": [GREY if s else BLUE for s in stopped]}
        points.customdata = [str(trial.settings[path]) for trial in trials]
        points.hovertemplate = "%{customdata}: %{y:.4f}<extra></extra>"
        figure.add_trace(points, row, 1)
        figure.update_xaxes(title_text=drawing.escaped(path), row=row, col=1, **ticks)
        figure.update_yaxes(title_text="", row=row, col=1)
    return figure.update_layout(showlegend=False)


def curves_figure(page: SweepPage) -> go.Figure:
    """Draw the objective of every trial as it trains; where a line ends early it was stopped."""
    finished = page.finished()
    best = finished[0].trial_id if finished else ""
    drawn = sorted(
        (t for t in page.trials if t.curve), key=lambda t: (t.trial_id == best, t.percent)
    )
    traces, named = [], set[str]()
    for trial in drawn:
        name, color = _role(trial, best)
        hover = f"{drawing.escaped(trial.trial_id)}, %{{x:.0f}} %: %{{y:.4f}}"
        x, y = zip(*trial.curve, strict=True)
        curve = drawing.line(x, y, name, color, hover)
        curve.update(mode="lines+markers", marker_size=5, legendgroup=name)
        curve.update(showlegend=name not in named, line_width=3 if name == "best" else 1.6)
        named.add(name)
        traces.append(curve)
    figure = drawing.figure_of(traces, "training done, %", page.objective, height=400)
    return figure.update_xaxes(range=[0, 102])


def _role(trial: SweepTrial, best: str) -> tuple[str, str]:
    """Return what a trial is in the legend, and its colour."""
    if trial.trial_id == best:
        return "best", ORANGE
    if trial.state == STOPPED:
        return "stopped early", GREY
    return ("failed", "rgb(214, 82, 72)") if trial.state == FAILED else ("finished", BLUE)
