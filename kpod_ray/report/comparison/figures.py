"""The plotly figures of a comparison.

In figures with curves an arm has one colour and line style, the same in all of them; the baseline is a
solid grey line. The functions of single figures need data; `comparison_figures` leaves out figures
without data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kpod_ray.report import plotting
from kpod_ray.report.comparison.data import ArmResults, ComparisonResults
from kpod_ray.report.comparison.statistics import Contrast, Findings
from kpod_ray.report.comparison.step_groups import StepGroup
from kpod_ray.report.plotting import BLUE, GREEN, GREY, ORANGE, RED

COLORS = (
    BLUE, ORANGE, GREEN, RED, "rgb(150, 105, 205)", "rgb(165, 115, 80)", "rgb(220, 110, 170)",
    "rgb(145, 150, 35)", "rgb(25, 165, 190)",
)  # fmt: skip
DASHES = ("solid", "dash", "dot")
"""Line styles; the next style is used when all colours of the style before are taken."""
VERDICT_COLORS = {"better": GREEN, "worse": RED, "undecided": GREY}
ROW_HEIGHT = 34
"""Height of a row with one line of text, in a figure with a row for each arm or contrast, in pixels."""
LINE_HEIGHT = 15
"""Height of a further line of text in a row, in pixels."""
LEGEND_HEIGHT = 15
"""Height of one arm in a legend, in pixels."""
CURVES = (
    ("rationale_loss", "rationale loss, nats", ".3f", None),
    ("given_steps_mean", "given steps, mean", ".2f", None),
    ("accuracy", "validation accuracy", ".1%", ".0%"),
)
"""Curves by stage: field of `StagePoint`, axis title, number format of a value and of an axis tick."""


def comparison_figures(
    results: ComparisonResults, found: Findings, groups: Sequence[StepGroup]
) -> dict[str, go.Figure]:
    """Return name -> figure of every figure that has data.

    The names are ``accuracy`` (always), ``differences`` (with an arm beside the baseline), ``curves``
    and ``tokens`` (with an arm that has curves), and ``steps`` (with more than one group). ``found`` and
    ``groups`` are the `findings` and the `step_groups` of the results.
    """
    figures = {"accuracy": accuracy_figure(results, found)}
    if found.contrasts:
        figures["differences"] = differences_figure(found.contrasts)
    if any(arm.curves for arm in results.arms):
        figures["curves"] = curves_figure(results)
        figures["tokens"] = tokens_figure(results)
    if len(groups) > 1:
        figures["steps"] = steps_figure(results, groups)
    return figures


def differences_figure(contrasts: Mapping[str, Contrast]) -> go.Figure:
    """Return a figure of each arm's `Contrast.difference`, with its 95 % interval, in percentage points.

    Contrasts are rows from top to bottom, in the order of ``contrasts``, see `Findings.contrasts`. A row
    has the name of the arm; if a contrast is with another arm than the baseline, all rows also have the
    name of the other arm. The colour is that of the verdict: better green, worse red, undecided grey.
    The point of an undecided contrast is hollow.
    """
    traces = [_difference(contrast, row) for row, contrast in enumerate(contrasts.values())]
    labels = [plotting.escaped(one.arm) for one in contrasts.values()]
    height = _height(len(contrasts))
    if any(label != one.arm for label, one in contrasts.items()):
        others = [plotting.escaped(one.other) for one in contrasts.values()]
        labels = [f"{arm}<br>\u2212 {other}" for arm, other in zip(labels, others, strict=True)]
        height += LINE_HEIGHT * len(contrasts)
    figure = plotting.figure_of(traces, "difference, points", "", height)
    _label_rows(figure, labels)
    line = {"width": 1.5, "color": BLUE, "dash": "dot"}
    return figure.add_shape(type="line", x0=0, x1=0, yref="paper", y0=0, y1=1, line=line)


def _difference(contrast: Contrast, row: int) -> go.Scatter:
    value, low, high = (
        100 * x
        for x in (contrast.difference.value, contrast.difference.low, contrast.difference.high)
    )
    point = plotting.interval_point(value, (low, high), row, VERDICT_COLORS[contrast.verdict])
    if contrast.verdict == "undecided":
        point.update(marker_symbol="circle-open", marker_line_width=2.5)
    hover = f"%{{x:.1f}} points ({low:.1f} to {high:.1f})<br>{contrast.verdict}"
    return point.update(hovertemplate=f"{hover}<extra></extra>")


def accuracy_figure(results: ComparisonResults, found: Findings) -> go.Figure:
    """Return a figure of each arm's accuracy in per cent, with its 95 % interval.

    A small point shows the accuracy of each seed. Arms are rows from top to bottom, in the order of the
    results. The colour is that of the verdict against the baseline: better green, worse red, undecided
    or not tested grey; the baseline is blue. ``found`` holds the `findings` of the results.
    """
    traces = []
    for row, (arm, estimate) in enumerate(zip(results.arms, found.accuracies, strict=True)):
        contrast = found.contrasts.get(arm.name)
        verdict = contrast.verdict if contrast else "undecided"
        color = BLUE if arm.name == results.baseline else VERDICT_COLORS[verdict]
        value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
        mean = plotting.interval_point(value, (low, high), row, color)
        mean.hovertemplate = f"%{{x:.1f}} % ({low:.1f} to {high:.1f} %)<extra></extra>"
        means = [100 * float(share) for share in arm.correct.mean(axis=1)]
        seeds = go.Scatter(x=means, y=[row + 0.28] * len(means), mode="markers")
        seeds.marker = {"size": 5, "color": color, "opacity": 0.6}
        seeds.hovertemplate = "one seed: %{x:.1f} %<extra></extra>"
        traces += [seeds, mean]
    figure = plotting.figure_of(traces, "correct answers, %", "", _height(len(results.arms)))
    return _label_rows(figure, [plotting.escaped(arm.name) for arm in results.arms])


def curves_figure(results: ComparisonResults) -> go.Figure:
    """Return a figure of rationale loss in nats, given steps and accuracy by stage, one panel for each.

    A point is the mean over those seeds of the arm that have a value at the stage. The panel of the
    accuracy is left out if no accuracy was measured. Arms without curves are left out, and in the panel
    of the rationale loss also arms without a rationale in the loss; at least one arm must have curves.
    """
    measured = [
        curve for curve in CURVES if any(_mean_curve(arm, curve[0]) for arm in results.arms)
    ]
    figure = make_subplots(len(measured), 1, shared_xaxes=True, vertical_spacing=0.05)
    for arm, color, dash in _styled_arms(results):
        is_named = False
        for row, (name, _, digits, _) in enumerate(measured, start=1):
            points = _mean_curve(arm, name)
            hover = f"stage %{{x}}: %{{y:{digits}}}"
            curve = plotting.line(points, points.values(), plotting.escaped(arm.name), color, hover)
            curve.update(line_dash=dash, mode="lines+markers", marker_size=5)
            curve.update(legendgroup=f"{color} {dash}", showlegend=bool(points) and not is_named)
            is_named = is_named or bool(points)
            figure.add_trace(curve, row, 1)
    plotting.styled(figure, "", "", height=190 * len(measured) + LEGEND_HEIGHT * len(results.arms))
    for row, (_, title, _, ticks) in enumerate(measured, start=1):
        figure.update_yaxes(title_text=title, tickformat=ticks, row=row, col=1)
    figure.update_xaxes(showgrid=False)
    figure.update_xaxes(title_text="stage", row=len(measured), col=1)
    return figure.update_layout(legend_font_size=11)


def _mean_curve(arm: ArmResults, field: str) -> dict[int, float]:
    """Return stage -> mean of a field of `StagePoint` over the seeds; empty if the field is None.

    The rationale loss of an arm without a rationale in the loss, which is 0, is left out, too.
    """
    if field == "rationale_loss" and not arm.keypoint_share:
        return {}
    by_stage: dict[int, list[float]] = {}
    for point in (point for curve in arm.curves for point in curve):
        value = getattr(point, field)
        if value is not None:
            by_stage.setdefault(point.stage, []).append(value)
    return {stage: sum(values) / len(values) for stage, values in sorted(by_stage.items())}


def steps_figure(results: ComparisonResults, groups: Sequence[StepGroup]) -> go.Figure:
    """Return a figure of each arm's accuracy, in per cent, by the question's number of reasoning steps.

    ``groups`` holds the `step_groups` of the results. Each arm is a curve. A number of steps has its
    number of questions below.
    """
    steps = [group.num_steps for group in groups]
    labels = [f"{group.num_steps}<br>({group.num_questions:,})" for group in groups]
    traces = []
    for at, (arm, color, dash) in enumerate(_styled_arms(results)):
        shares = [100 * group.accuracies[at] for group in groups]
        hover = "%{x} steps: %{y:.1f} %"
        curve = plotting.line(steps, shares, plotting.escaped(arm.name), color, hover)
        traces.append(curve.update(line_dash=dash, mode="lines+markers"))
    title = "reasoning steps (number of questions)"
    figure = plotting.figure_of(traces, title, "correct answers, %")
    figure.update_xaxes(tickvals=steps, ticktext=labels).update_yaxes(rangemode="tozero")
    return _with_names(figure, results)


def tokens_figure(results: ComparisonResults) -> go.Figure:
    """Return a figure of the answer loss, in nats, against the tokens in the loss so far.

    A point is one stage: `StagePoint.loss_tokens` and `StagePoint.answer_loss`, each the mean over the
    seeds that reached the stage. Arms without curves are left out.
    """
    traces = []
    for arm, color, dash in _styled_arms(results):
        tokens, losses = (_mean_curve(arm, field) for field in ("loss_tokens", "answer_loss"))
        hover = "%{x:,.0f} tokens: %{y:.3f} nats"
        curve = plotting.line(
            tokens.values(), losses.values(), plotting.escaped(arm.name), color, hover
        )
        traces.append(curve.update(line_dash=dash, mode="lines+markers", marker_size=5))
    drawn = [trace for trace in traces if trace.x]
    figure = plotting.figure_of(drawn, "tokens in the loss so far", "answer loss, nats")
    figure.update_xaxes(rangemode="tozero", separatethousands=True)
    return _with_names(figure, results)


def _styled_arms(results: ComparisonResults) -> list[tuple[ArmResults, str, str]]:
    """Return every arm with its colour and dash; the baseline alone is grey."""
    styled, others = [], 0
    for arm in results.arms:
        if arm.name == results.baseline:
            styled.append((arm, GREY, "solid"))
            continue
        dash = DASHES[others // len(COLORS) % len(DASHES)]
        styled.append((arm, COLORS[others % len(COLORS)], dash))
        others += 1
    return styled


def _with_names(figure: go.Figure, results: ComparisonResults) -> go.Figure:
    """Make the figure tall enough for a legend with one line for each arm, as on a phone."""
    height = 320 + LEGEND_HEIGHT * len(results.arms)
    return figure.update_layout(height=height, legend_font_size=11)


def _label_rows(figure: go.Figure, labels: Sequence[str]) -> go.Figure:
    """Label the rows of a figure from top to bottom with escaped texts."""
    figure.update_yaxes(
        tickvals=list(range(len(labels))),
        ticktext=list(labels),
        range=[len(labels) - 0.4, -0.6],
        showgrid=False,
    )
    return figure.update_layout(showlegend=False)


def _height(num_rows: int) -> int:
    return 90 + ROW_HEIGHT * num_rows
