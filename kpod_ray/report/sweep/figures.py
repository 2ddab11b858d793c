"""The plotly figures of a sweep.

The functions of single figures need data; `sweep_figures` leaves out figures without data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kpod_ray.config import Domain, Value
from kpod_ray.report import plotting
from kpod_ray.report.plotting import BLUE, GREY, ORANGE, RED
from kpod_ray.report.sweep.data import (
    FAILED,
    STOPPED,
    SweepPage,
    SweepTrial,
    common_stage,
    value_text,
)
from kpod_ray.report.sweep.importance import importances

ROW_HEIGHT = 150
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


def parallel_figure(
    page: SweepPage, trials: Sequence[SweepTrial], objectives: Sequence[float]
) -> go.Figure:
    """Return a figure of parallel coordinates: a trial is a line through its settings to its objective.

    The axes are the varied settings, named by the last part of their paths, and the objective. The best
    of ``objectives`` is at the top of the last axis. The better a trial's objective, the stronger its
    line. The line of the sweep's best trial (the first of `SweepPage.finished`) is orange, the others
    are blue, whatever their states.

    Args:
        page: results of the sweep.
        trials: trials to draw, at least one.
        objectives: objective of each trial, finite, at a point of the training that all of them reached.
    """
    axes = [_axis(path, page.sweep.space[path], trials) for path in page.paths]
    low, high = min(objectives), max(objectives)
    ends = (high, low) if page.is_lower_better else (low, high)
    marks = {0.0: f"{ends[0]:.4g}", 1.0: f"{ends[1]:.4g}"}
    axes.append(_Axis(page.objective, _placed(objectives, *ends), marks))
    order = np.argsort(axes[-1].places)  # the best are drawn last
    best = _best(page)
    traces = [_path(axes, trials[int(at)], int(at), best) for at in order]
    figure = plotting.figure_of(traces, "", "", height=430)
    figure.update_yaxes(visible=False, range=[-0.1, 1.1])
    names = [plotting.escaped(axis.name) for axis in axes]
    figure.update_xaxes(tickvals=list(range(len(axes))), ticktext=names, tickangle=25)
    figure.update_xaxes(showgrid=False, range=[-0.3, len(axes) - 0.4])
    vertical = {"type": "line", "y0": 0, "y1": 1, "line": {"width": 1, "color": GREY}}
    beside = {"showarrow": False, "xanchor": "left", "xshift": 5, "font": {"size": 11}}
    return figure.update_layout(
        showlegend=False,
        shapes=[{"x0": x, "x1": x, **vertical} for x in range(len(axes))],
        annotations=[
            {"x": x, "y": y, "text": text, **beside}
            for x, axis in enumerate(axes)
            for y, text in axis.marks.items()
        ],
    )


class _Axis(NamedTuple):
    """One vertical axis of the parallel coordinates."""

    name: str
    places: list[float]
    """Position of each trial on the axis, in [0, 1]."""
    marks: dict[float, str]
    """Position on the axis -> label."""


def _axis(path: str, domain: Domain, trials: Sequence[SweepTrial]) -> _Axis:
    """Return the axis of a setting: labelled by its choices, or by both ends of its range."""
    places, ticks = axis_places(domain, [trial.settings[path] for trial in trials])
    name = path.rpartition(".")[2]
    if domain.choice is not None:
        last = len(domain.choice) - 1
        names = zip(_placed(ticks["tickvals"], 0, last), ticks["ticktext"], strict=True)
        return _Axis(name, _placed(places, 0, last), dict(names))
    (low, high), _ = axis_places(domain, domain.ends())
    texts = [f"{end:.3g}" for end in domain.ends()]
    return _Axis(name, _placed(places, low, high), dict(zip((0.0, 1.0), texts, strict=True)))


def _placed(values: Sequence[float], low: float, high: float) -> list[float]:
    """Scale values linearly, ``low`` to 0 and ``high`` to 1; ``low`` may be the larger number."""
    return [0.5 if low == high else (value - low) / (high - low) for value in values]


def _best(page: SweepPage) -> str:
    """Return the id of the best trial; empty if no trial is finished."""
    finished = page.finished()
    return finished[0].trial_id if finished else ""


def _path(axes: Sequence[_Axis], trial: SweepTrial, at: int, best: str) -> go.Scatter:
    """Return the line of the trial at index ``at``; the better the trial, the stronger the line."""
    quality = axes[-1].places[at]
    color = ORANGE if trial.trial_id == best else BLUE
    settings = [
        f"{plotting.escaped(path)} {plotting.escaped(value_text(value))}"
        for path, value in trial.settings.items()
    ]
    curve = plotting.line(range(len(axes)), [axis.places[at] for axis in axes], "", color, "")
    opacity = 0.15 + 0.85 * quality**2
    curve.update(opacity=opacity, line_width=1.2 + 1.6 * quality, line_shape="spline")
    curve.update(line_smoothing=0.5)
    curve.update(
        hovertemplate="<br>".join([plotting.escaped(trial.trial_id), *settings, "<extra></extra>"])
    )
    return curve


def axis_places(domain: Domain, values: Sequence[Value]) -> tuple[list[float], dict[str, Any]]:
    """Return the positions of a setting's values on an axis, and plotly's options for its ticks.

    A choice has the position of its index from 0, and a value of a ``loguniform`` domain that of its
    logarithm to base 10; other numbers are their own positions.

    Args:
        domain: domain of the setting.
        values: values of the setting from its domain, one for each trial.

    Returns:
        The position of each value in order, and the keyword arguments ``tickvals`` and ``ticktext`` of
        ``update_xaxes``: all choices, escaped, or four values of a ``loguniform`` domain. The keyword
        arguments are empty for ``uniform`` and ``randint``.
    """
    if domain.choice is not None:
        names = [plotting.escaped(str(choice)) for choice in domain.choice]
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

    Points of trials that were stopped early are grey, the others blue. ``objectives`` holds the
    objective of each of ``trials``, at a point of the training that all of them reached.
    """
    figure = make_subplots(len(page.paths), 1, vertical_spacing=0.28 / max(1, len(page.paths)))
    stopped = [trial.state == STOPPED for trial in trials]
    plotting.styled(figure, "", page.objective, height=80 + ROW_HEIGHT * len(page.paths))
    for row, path in enumerate(page.paths, start=1):
        places, ticks = axis_places(page.sweep.space[path], [t.settings[path] for t in trials])
        points = go.Scatter(x=places, y=list(objectives), mode="markers")
        points.marker = {"size": 9, "color": [GREY if s else BLUE for s in stopped]}
        points.customdata = [plotting.escaped(str(trial.settings[path])) for trial in trials]
        points.hovertemplate = "%{customdata}: %{y:.4f}<extra></extra>"
        figure.add_trace(points, row, 1)
        figure.update_xaxes(title_text=plotting.escaped(path), row=row, col=1, **ticks)
        figure.update_yaxes(title_text="", row=row, col=1)
    return figure.update_layout(showlegend=False)


def curves_figure(page: SweepPage) -> go.Figure:
    """Return a figure of every trial's objective against the percentage of its training that was done.

    Trials without a curve are left out. The best trial (the first of `SweepPage.finished`) is orange and
    drawn on top of the others. Other finished trials are blue, trials that were stopped early grey and
    failed ones red.
    """
    best = _best(page)
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
