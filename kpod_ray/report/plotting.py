"""Parts that all plotly figures share: layout, colours, labels, histograms, curves of bounded size.

Figures have no colours for text and grid lines: the page's script sets them for its light or dark mode.
Data are drawn in colours that are visible in both modes.
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
"""A curve with more points is drawn as means of neighbouring points, see `thinned`."""
MAX_LABEL_CHARS = 30
"""Length of a label, before escaping, beyond which `escaped` shortens it."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram of counts in bins; without edges and counts, the histogram stands for missing data."""

    edges: tuple[float, ...] = ()
    """Edges of the bins, rising (not checked); one edge more than there are counts."""
    counts: tuple[int, ...] = ()
    """Number of values in each bin."""

    def __post_init__(self) -> None:
        """Check the number of edges.

        Raises:
            ValueError: There isn't one edge more than there are counts, and the two aren't both empty.
        """
        if len(self.edges) != len(self.counts) + bool(self.edges):
            raise ValueError(f"{len(self.edges)} edges for {len(self.counts)} counts")


def figure_of(traces: Sequence[Any], x_title: str, y_title: str, height: int = 340) -> go.Figure:
    """Return a new figure of copies of plotly traces, the last one on top, in the style of `styled`."""
    return styled(go.Figure(list(traces)), x_title, y_title, height)


def styled(figure: go.Figure, x_title: str, y_title: str, height: int = 340) -> go.Figure:
    """Set the report's style, axis titles and height of a figure in place, and return the same figure.

    The titles, with their units, are for every x-axis and every y-axis, and aren't escaped here. The
    height is in pixels.
    """
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
    """Return a new curve, a line without markers; values that aren't finite leave a gap.

    ``name`` is shown in the legend and beside the text at a point. ``hover`` is plotly's
    ``hovertemplate`` of a point, without ``<extra>``. The caller escapes the texts in both, see
    `escaped`.
    """
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
        value: position of the point on the x-axis.
        interval: low and high end of the interval, which contains ``value``.
        row: position of the point on the y-axis.
        color: CSS colour of the point and the interval.
        size: diameter of the point in pixels, at least 6.
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
    """Return a figure of a histogram as bars; without edges, there are no bars.

    ``unit`` is the plural of what is counted, such as ``tokens``: the title of the y-axis, and the word
    behind the count in the text at a bar. Neither ``unit`` nor ``x_title`` is escaped here.
    """
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
    """Return a label for plotly, which interprets HTML tags: shortened, made visible, HTML-escaped.

    A label of more than `MAX_LABEL_CHARS` characters is cut to this length, with an ellipsis as the last
    character. Replacing control characters, see `visible`, and escaping may lengthen the label again.
    """
    shown = label if len(label) <= MAX_LABEL_CHARS else f"{label[: MAX_LABEL_CHARS - 1]}…"
    return html.escape(visible(shown))


def finite(values: Iterable[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the finite values in order, [N] float64; NaN, infinities and None are left out."""
    array = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return array[np.isfinite(array)]


def thinned(
    table: np.ndarray[Any, np.dtype[np.float64]],
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Reduce a table [N, C] to at most `MAX_POINTS` rows: means of blocks of neighbouring rows.

    The blocks have equal lengths, except a last one that may be shorter. Means are rounded to 9
    decimals; a NaN makes its mean NaN. With N <= `MAX_POINTS`, the given array itself is returned, not
    rounded.
    """
    rows = -(-len(table) // MAX_POINTS)
    if rows <= 1:
        return table
    starts = np.arange(0, len(table), rows)
    counts = np.diff(np.append(starts, len(table)))
    means: np.ndarray[Any, np.dtype[np.float64]] = np.add.reduceat(table, starts) / counts[:, None]
    return means.round(9)  # else plotly would zoom into the rounding errors of a constant curve
