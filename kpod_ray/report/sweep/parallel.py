"""The figure of a sweep with parallel coordinates: a line through the settings of each trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from kpod_ray.config import Domain
from kpod_ray.report import plotting
from kpod_ray.report.plotting import BLUE, GREY, ORANGE
from kpod_ray.report.sweep.axes import axis_places, domain_range
from kpod_ray.report.sweep.data import SweepPage, SweepTrial, value_text


def parallel_figure(
    page: SweepPage, trials: Sequence[SweepTrial], objectives: Sequence[float]
) -> go.Figure:
    """Return a figure of parallel coordinates: a trial is a line through its settings to its objective.

    The axes are the varied settings, named by the last part of their paths, and the objective. The best
    of ``objectives`` is at the top of the last axis. The better a trial's objective, the stronger its
    line. The line of the sweep's best trial (`SweepPage.best`), which is drawn last, is orange, the
    others are blue, whatever their states.

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
    best = page.best()
    order = sorted(
        range(len(trials)), key=lambda at: (trials[at].trial_id == best, axes[-1].places[at])
    )
    traces = [_path(axes, trials[at], at, best) for at in order]
    figure = plotting.figure_of(traces, "", "", height=430)
    figure.update_yaxes(visible=False, range=[-0.12, 1.12])
    names = [plotting.escaped(axis.name) for axis in axes]
    figure.update_xaxes(tickvals=list(range(len(axes))), ticktext=names, tickangle=-35)
    figure.update_xaxes(ticklabeloverflow="allow", showgrid=False, showline=False)
    figure.update_xaxes(range=[-0.4, len(axes) - 0.6])
    vertical = {"type": "line", "y0": 0, "y1": 1, "line": {"width": 1, "color": GREY}}
    return figure.update_layout(
        showlegend=False,
        shapes=[{"x0": x, "x1": x, **vertical} for x in range(len(axes))],
        annotations=[
            _mark(x, y, text) for x, axis in enumerate(axes) for y, text in axis.marks.items()
        ],
    )


def _mark(x: int, y: float, text: str) -> dict[str, Any]:
    """Return the label of a position on an axis: above and below the ends, else beside the axis."""
    label = {"x": x, "y": y, "text": text, "showarrow": False, "font": {"size": 11}}
    if y in (0.0, 1.0):
        return {**label, "yanchor": "bottom" if y else "top"}
    return {**label, "xanchor": "left", "xshift": 5}


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
    low, high = domain_range(domain)
    texts = [f"{end:.3g}" for end in domain.ends()]
    return _Axis(name, _placed(places, low, high), dict(zip((0.0, 1.0), texts, strict=True)))


def _placed(values: Sequence[float], low: float, high: float) -> list[float]:
    """Scale values linearly, ``low`` to 0 and ``high`` to 1; ``low`` may be the larger number."""
    return [0.5 if low == high else (value - low) / (high - low) for value in values]


def _path(axes: Sequence[_Axis], trial: SweepTrial, at: int, best: str) -> go.Scatter:
    """Return the line of the trial at index ``at``; the better the trial, the stronger the line."""
    quality = axes[-1].places[at]
    color = ORANGE if trial.trial_id == best else BLUE
    settings = [
        f"{plotting.escaped(path)} {plotting.escaped(value_text(value))}"
        for path, value in trial.settings.items()
    ]
    curve = plotting.line(range(len(axes)), [axis.places[at] for axis in axes], "", color, "")
    opacity = 1.0 if trial.trial_id == best else 0.15 + 0.85 * quality**2
    curve.update(opacity=opacity, line_width=1.2 + 1.6 * quality)
    curve.update(
        hovertemplate="<br>".join([plotting.escaped(trial.trial_id), *settings, "<extra></extra>"])
    )
    return curve
