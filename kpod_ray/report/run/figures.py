"""The plotly figures of a run's report.

Figures contain only counts, means and short labels, never texts of tokens or questions, so that their
size doesn't grow with the run. The functions of single figures need data; `figures_of` leaves out
figures without data.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kpod_ray.report import plotting
from kpod_ray.report.plotting import BLUE, GREEN, GREY, ORANGE, RED, Histogram, line
from kpod_ray.report.run.data import Accuracy, RunResults, TrainPoint, WeightingPoint

MAX_GIVEN_STEPS = 7
"""Questions with at least this number of given steps share a colour."""
MAX_LABELS = 10
"""Largest number of labelled stages; with more stages, every second, fifth, ... stage is labelled."""


def figures_of(results: RunResults) -> dict[str, go.Figure]:
    """Return name -> figure of every figure that has data.

    The names are ``accuracy``, ``token_weights``, ``difficulty``, ``position``, ``given_steps``,
    ``ceiling``, ``training`` and ``weighting``. Step difficulties that aren't finite are left out.
    """
    difficulties = [tuple(steps) for steps in results.step_difficulties.values()]
    all_difficulties = plotting.finite(itertools.chain.from_iterable(difficulties)).tolist()
    figures = {}
    if any(accuracy.num_questions for accuracy in results.accuracies):
        figures["accuracy"] = accuracy_figure(results.accuracies)
    if results.token_weight_histogram.counts:
        figures["token_weights"] = plotting.histogram_figure(
            results.token_weight_histogram, "token weight", "tokens", ORANGE
        )
    if all_difficulties:
        figures["difficulty"] = difficulty_figure(all_difficulties)
        figures["position"] = position_figure(difficulties)
    if any(results.given_steps_counts):
        figures["given_steps"] = given_steps_figure(results.given_steps_counts)
    if results.ceilings or results.planned:
        figures["ceiling"] = ceiling_figure(results.ceilings, results.planned)
    if results.train_history:
        figures["training"] = training_figure(results.train_history)
    if results.weighting_history:
        figures["weighting"] = weighting_figure(results.weighting_history)
    return figures


def accuracy_figure(accuracies: Sequence[Accuracy]) -> go.Figure:
    """Return a figure of each model's accuracy as a point with its 95 % interval, in per cent.

    Models are rows from top to bottom, in the order of ``accuracies``; models without questions are left
    out, and at least one must have questions. The last model that is drawn is blue, the others grey.
    """
    shown = [accuracy for accuracy in accuracies if accuracy.num_questions]
    traces = [_interval(accuracy, row, GREY) for row, accuracy in enumerate(shown)]
    traces[-1].update(marker_color=BLUE, error_x_color=BLUE)
    figure = plotting.figure_of(traces, "correct answers, %", "", height=100 + 50 * len(shown))
    figure.update_yaxes(
        tickvals=list(range(len(shown))),
        ticktext=[plotting.escaped(accuracy.label) for accuracy in shown],
        range=[len(shown) - 0.5, -0.5],
    )
    figure.update_layout(showlegend=False)
    return figure.update_xaxes(range=[0, min(102.0, 108 * max(a.high for a in shown) + 1)])


def _interval(accuracy: Accuracy, row: int, color: str) -> go.Scatter:
    """Return the point of one accuracy with its 95 % interval, in per cent."""
    share, low, high = (100 * x for x in (accuracy.share, accuracy.low, accuracy.high))
    point = plotting.interval_point(share, (low, high), row, color, size=13)
    hover = f"%{{x:.1f}} % ({low:.1f} to {high:.1f} %)<br>{accuracy.num_correct} of "
    return point.update(hovertemplate=f"{hover}{accuracy.num_questions} correct<extra></extra>")


def difficulty_figure(step_difficulties: Sequence[float]) -> go.Figure:
    """Return a figure of the histogram of step difficulties, in nats, in 40 bins of equal width.

    ``step_difficulties`` holds the difficulties, all finite, of all reasoning steps in any order.
    """
    counts, edges = np.histogram(step_difficulties, bins=40)
    histogram = Histogram(tuple(edges.tolist()), tuple(counts.tolist()))
    return plotting.histogram_figure(histogram, "step difficulty, nats", "reasoning steps", BLUE)


def position_figure(step_difficulties: Sequence[Sequence[float]]) -> go.Figure:
    """Return a figure of the mean difficulty, in nats, of the first, second, ... reasoning steps.

    A band reaches from the first to the third quartile. Means and quartiles are over the questions with
    a finite difficulty at the position; a position without any is left out. ``step_difficulties`` holds
    the difficulties of each question's steps in order.
    """
    all_columns = [plotting.finite(column) for column in itertools.zip_longest(*step_difficulties)]
    columns = {at: column for at, column in enumerate(all_columns, start=1) if column.size}
    positions = list(columns)
    low, high = ([float(np.quantile(c, q)) for c in columns.values()] for q in (0.25, 0.75))
    band = go.Scatter(
        x=positions + positions[::-1],
        y=high + low[::-1],
        fill="toself",
        mode="lines",
        fillcolor="rgba(58, 124, 214, 0.18)",
        line={"width": 0},
        hoverinfo="skip",
        name="middle half",
    )
    means = [float(column.mean()) for column in columns.values()]
    hover = "step %{x}: %{y:.3f} nats, %{customdata} questions"
    mean = line(positions, means, "mean", BLUE, hover)
    mean.update(mode="lines+markers", customdata=[len(column) for column in columns.values()])
    figure = plotting.figure_of(
        [band, mean], "position of the reasoning step", "difficulty, nats", 300
    )
    return figure.update_xaxes(tick0=1, dtick=max(1, len(positions) // 10))


def given_steps_figure(given_steps_counts: Sequence[Sequence[int]]) -> go.Figure:
    """Return a figure with a stacked bar for each stage: the numbers of questions by given steps.

    Numbers of given steps from `MAX_GIVEN_STEPS` share one colour, if there are larger ones.

    Args:
        given_steps_counts: [stage][number of given steps] -> number of questions; one or more stages,
            from 0. The inner sequences may differ in length.
    """
    width = max(len(counts) for counts in given_steps_counts)
    table = np.array([[*counts, *[0] * (width - len(counts))] for counts in given_steps_counts])
    names = [str(given) for given in range(width)]
    if width > MAX_GIVEN_STEPS + 1:
        rest = table[:, MAX_GIVEN_STEPS:].sum(axis=1, keepdims=True)
        table = np.hstack([table[:, :MAX_GIVEN_STEPS], rest])
        names = [*names[:MAX_GIVEN_STEPS], f"{MAX_GIVEN_STEPS} or more"]
    bars = []
    for given, (name, counts) in enumerate(zip(names, table.T, strict=True)):
        alpha = 0.95 - 0.78 * given / max(1, len(names) - 1)
        bar = go.Bar(x=list(range(len(table))), y=counts.tolist(), name=name)
        bar.marker = {"color": f"rgba(58, 124, 214, {alpha:.2f})", "line": {"width": 0}}
        bar.hovertemplate = f"stage %{{x}}: %{{y}} questions with {name} given<extra></extra>"
        bars.append(bar)
    figure = plotting.figure_of(bars, "stage", "questions", height=380)
    figure.update_layout(barmode="stack", bargap=0.14 if len(table) <= 40 else 0)
    figure.update_layout(legend_title={"text": "given steps ", "font": {"size": 13}})
    return figure.update_xaxes(showgrid=False).update_yaxes(showgrid=False)


def ceiling_figure(ceilings: Sequence[float], planned: Sequence[float]) -> go.Figure:
    """Return a figure of the planned difficulty H(t) and the ceiling D(t) of Eq. 10 by stage, in nats.

    ``planned`` holds H(t) and ``ceilings`` D(t) of each stage, from stage 0; each may be empty.
    """
    hover = "stage %{x}: %{y:.1f} nats"
    ceiling = line(range(len(ceilings)), ceilings, "ceiling D(t)", GREY, hover)
    plan = line(range(len(planned)), planned, "planned H(t)", BLUE, hover)
    ceiling.update(line_dash="dash")
    plan.update(mode="lines+markers")
    figure = plotting.figure_of([ceiling, plan], "stage", "sum of step difficulties, nats")
    return figure.update_yaxes(rangemode="tozero")


def training_figure(history: Sequence[TrainPoint]) -> go.Figure:
    """Return a figure of the student's losses, in nats, and of its token weights, by train step.

    The upper panel has `TrainPoint.loss`, ``rationale_loss`` and ``answer_loss``, the lower one the mean
    token weight and the keypoint share, from 0 to 1. Without a rationale in the loss, there are only the
    loss and the answer loss. Curves of more than `plotting.MAX_POINTS` train
    steps are thinned, see `thinned`. Dotted lines mark the first train step of each stage; with more
    than `MAX_LABELS` stages, only some lines have the stage's number. ``history`` isn't empty.
    """
    losses = ("loss", "rationale_loss", "answer_loss")
    names = ("train_step", *losses, "token_weight_mean", "keypoint_share")
    table = np.array([[float(getattr(p, name)) for name in names] for p in history])
    steps, loss, rationale, answer, weight, share = plotting.thinned(table).T.tolist()
    hover = "train step %{x:.0f}: %{y:.4f}"
    of_loss = line(steps, loss, "loss (minimised)", BLUE, hover)
    of_answer = line(steps, answer, "answer, per token", GREEN, hover)
    if not any(rationale):
        figure = plotting.figure_of([of_loss, of_answer], "train step", "loss, nats", height=380)
        return _with_stages(figure.update_xaxes(showgrid=False), history)
    of_rationale = line(steps, rationale, "rationale, per token", ORANGE, hover)
    weights = [
        line(steps, weight, "mean token weight", GREY, hover),
        line(steps, share, "keypoint share", RED, hover),
    ]
    figure = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.74, 0.26], vertical_spacing=0.06)
    figure.add_traces([of_loss, of_rationale, of_answer, *weights], rows=[1, 1, 1, 2, 2], cols=1)
    plotting.styled(figure, "train step", "loss, nats", height=480)
    figure.update_xaxes(showgrid=False).update_xaxes(title_text="", row=1, col=1)
    figure.update_yaxes(title_text="0 to 1", range=[0, 1], row=2, col=1)
    return _with_stages(figure, history)


def _with_stages(figure: go.Figure, history: Sequence[TrainPoint]) -> go.Figure:
    """Mark the first train step of each stage by a dotted line with the stage's number at its top.

    The legend is moved above the numbers.
    """
    starts: dict[int, int] = {}
    for point in history:
        starts.setdefault(point.stage, point.train_step)
    every = next(e for e in (1, 2, 5, 10, 20, 50, len(starts)) if len(starts) <= e * MAX_LABELS)
    dotted = {"width": 1, "dash": "dot", "color": GREY}
    over_all = {"yref": "paper", "y0": 0, "y1": 1, "line": dotted, "opacity": 0.55}
    above = {"yref": "paper", "y": 1, "yanchor": "bottom", "showarrow": False}
    marks = [{"x": x, "text": str(stage), **above} for stage, x in list(starts.items())[::every]]
    marks[0] |= {"text": f"stage {marks[0]['text']}", "xanchor": "right", "xshift": 5}
    return figure.update_layout(
        shapes=[{"type": "line", "x0": x, "x1": x, **over_all} for x in starts.values()],
        annotations=marks,
        legend_y=1.08,
    )


def weighting_figure(history: Sequence[WeightingPoint]) -> go.Figure:
    """Return a figure of the validations, with a line for each token weighter by its train step.

    The upper panel has the validation loss in nats, the lower one `WeightingPoint.weight_spread`.
    """
    figure = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.08)
    for weighter, points in itertools.groupby(history, lambda point: point.weighter):
        own = list(points)
        steps = [point.train_step for point in own]
        hover = f"weighter {weighter}, train step %{{x}}: %{{y:.4f}}"
        losses = line(steps, [p.validation_loss for p in own], "validation loss", BLUE, hover)
        spreads = line(steps, [p.weight_spread for p in own], "spread", ORANGE, hover)
        figure.add_traces([losses, spreads], rows=[1, 2], cols=[1, 1])
    figure.update_traces(mode="lines+markers", showlegend=False)
    plotting.styled(figure, "train step", "spread of the weights", height=380)
    figure.update_xaxes(title_text="", row=1, col=1)
    return figure.update_yaxes(title_text="validation loss, nats", row=1, col=1)
