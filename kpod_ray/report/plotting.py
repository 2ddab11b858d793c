"""What all figures share: layout, colours, escaped labels, histograms, curves of bounded size.

Figures carry no colour of the page: the page's script sets text and lines to its light or dark
colours, and data are drawn in colours that stand out on both.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from kpod_ray.report.formatting import visible

BLUE = "rgb(58, 124, 214)"
ORANGE = "rgb(224, 130, 20)"
GREEN = "rgb(40, 160, 115)"
GREY = "rgb(138, 144, 156)"
RED = "rgb(214, 82, 72)"
MAX_POINTS = 600
"""A curve with more points is drawn as means of neighbouring ones."""
MAX_LABEL_CHARS = 30


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between adjoining edges; empty edges and counts are no histogram."""

    edges: tuple[float, ...] = ()
    """Rising; one more than there are counts."""
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse edges that don't belong to the counts.

        Raises:
            ValueError: The lengths don't match.
        """
        if len(self.edges) != len(self.counts) + bool(self.edges):
            raise ValueError(f"{len(self.edges)} edges for {len(self.counts)} counts")


def figure_of(traces: Sequence[Any], x_title: str, y_title: str, height: int = 340) -> go.Figure:
    """Return a figure of traces with axes titled, in the report's plain style."""
    return styled(go.Figure(list(traces)), x_title, y_title, height)


def styled(figure: go.Figure, x_title: str, y_title: str, height: int = 340) -> go.Figure:
    """Give a figure the report's plain style, no colour of the page and these axis titles."""
    figure.update_layout(
        template=go.layout.Template(),
        height=height,
        margin={"l": 16, "r": 20, "t": 24, "b": 14},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "x": 0, "y": 1.03, "yanchor": "bottom", "traceorder": "normal"},
        hoverlabel={"font": {"family": "system-ui, sans-serif"}},
        dragmode=False,
    )
    title = {"font": {"size": 13}, "standoff": 10}
    figure.update_xaxes(automargin=True, zeroline=False, title={"text": x_title, **title})
    figure.update_yaxes(automargin=True, zeroline=False, title={"text": y_title, **title})
    return figure


def line(x: Iterable[float], y: Iterable[float], name: str, color: str, hover: str) -> go.Scatter:
    """Return a curve; values that are not finite leave a gap."""
    return go.Scatter(
        x=list(x),
        y=list(y),
        name=name,
        mode="lines",
        line={"color": color, "width": 2.2},
        hovertemplate=f"{hover}<extra>{name}</extra>",
    )


def interval_point(
    value: float, interval: tuple[float, float], row: int, color: str, size: int = 11
) -> go.Scatter:
    """Return a point with its horizontal interval, both in the unit of the x-axis.

    Args:
        value: where the point lies.
        interval: low and high end.
        row: where the point lies on the y-axis.
        color: of the point and the interval.
        size: diameter of the point in pixels.
    """
    low, high = interval
    ends = {"array": [high - value], "arrayminus": [value - low], "symmetric": False}
    return go.Scatter(
        x=[value],
        y=[row],
        mode="markers",
        marker={"size": size, "color": color},
        error_x={"type": "data", "thickness": 2.5, "width": size - 6, "color": color, **ends},
    )


def histogram_figure(histogram: Histogram, x_title: str, unit: str, color: str) -> go.Figure:
    """Draw a histogram whose counts are already known."""
    edges = np.array(histogram.edges)
    hover = "%{customdata[0]:.3f} to %{customdata[1]:.3f}"
    bars = go.Bar(
        x=((edges[:-1] + edges[1:]) / 2).tolist(),
        y=list(histogram.counts),
        width=(np.diff(edges) * 0.94).tolist(),
        customdata=[list(pair) for pair in itertools.pairwise(edges.tolist())],
        hovertemplate=f"{hover}: %{{y}} {unit}<extra></extra>",
        marker={"color": color, "line": {"width": 0}},
    )
    return figure_of([bars], x_title, unit, height=300)


def escaped(label: str) -> str:
    """Return a label, shortened, as plotly shows it literally: plotly reads tags in its texts."""
    shown = label if len(label) <= MAX_LABEL_CHARS else f"{label[: MAX_LABEL_CHARS - 1]}…"
    return html.escape(visible(shown))


def finite(values: Iterable[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the finite values, [N] float64; None is left out."""
    array = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return array[np.isfinite(array)]


def thinned(
    table: np.ndarray[Any, np.dtype[np.float64]],
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return [at most MAX_POINTS, C] means of equally many neighbouring rows of [N, C]."""
    rows = -(-len(table) // MAX_POINTS)
    if rows <= 1:
        return table
    starts = np.arange(0, len(table), rows)
    counts = np.diff(np.append(starts, len(table)))
    means: np.ndarray[Any, np.dtype[np.float64]] = np.add.reduceat(table, starts) / counts[:, None]
    return means.round(9)  # else a constant would show its rounding errors
