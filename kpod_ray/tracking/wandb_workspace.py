"""Build and save a W&B workspace (a dashboard) over the runs of a project or a sweep.

Its sections show the settings against the objective, the training curves, the token weights, and the
accuracies.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from kpod_ray.config import OBJECTIVES, RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.tracking.wandb_login import check_reachable

VALUE_SETTINGS = {
    "schedule.diversity_weight": "beta",
    "schedule.growth": "p",
    "schedule.initial_fraction": "C0 / B",
    "schedule.num_clusters": "K",
    "schedule.num_stages": "stages",
    "weighting.mask_ratio_weight": "alpha",
}
"""Setting of the schedule or the token weighter -> its symbol in the paper."""
OUTCOMES = (
    "outcome/validation_loss",
    "outcome/validation_token_accuracy",
    "outcome/accuracy",
    "outcome/accuracy_before",
    "outcome/accuracy_gain",
    "outcome/early_stops",
    "outcome/generated_minus_gold",
    "outcome/keypoint_share",
    "outcome/mean_token_weight",
    "outcome/kept_samples_fraction",
)
"""Keys of `PhaseSummary.outcome` that are columns of the table of runs."""
MAX_SCATTERS = 6
"""Scatter plots of the objective against a setting."""
MAX_RUNS = 50
"""Runs that a chart draws at once."""


def save_dashboard(config: RunConfig) -> str:
    """Create a new workspace on W&B (see `build_workspace`) and return its URL.

    The workspace belongs to ``tracking.entity``, or else to ``WANDB_ENTITY``, or else to the user's
    default entity on W&B.

    Raises:
        KpodError: As in `check_reachable`, or W&B fails to name the default entity or to save the
            workspace.
    """
    check_reachable()
    workspace = build_workspace(config, config.tracking.entity or _default_entity())
    with _refusals():
        workspace.save()
        return str(workspace.url)


def _default_entity() -> str:
    """Return ``WANDB_ENTITY``, or the default entity of the user on W&B."""
    import wandb

    entity = os.environ.get("WANDB_ENTITY")
    with _refusals():
        return entity or str(wandb.Api().default_entity)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Convert any exception of W&B's libraries, whose types aren't documented, to a `KpodError`."""
    try:
        yield
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise KpodError(f"W&B refuses the dashboard: {reason}") from error


def build_workspace(config: RunConfig, entity: str) -> Any:
    """Build the workspace of a config's project and group; nothing is saved and no request is sent.

    The group is ``tracking.group`` or, if that is None and ``sweep.space`` isn't empty, the config's
    name. With a group, the workspace shows only its runs. The runs are ordered by the objective of the
    sweep, the best first. Scatter plots show the objective against the first `MAX_SCATTERS` of
    `settings_of`.

    Args:
        config: config of the runs.
        entity: user or team on W&B that owns the project.

    Returns:
        An unsaved `wandb_workspaces.workspaces.Workspace`.
    """
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    tracking, objective = config.tracking, f"outcome/{config.sweep.objective}"
    group = tracking.group or (config.name if config.sweep.space else None)
    is_ascending = OBJECTIVES[config.sweep.objective] == "min"
    columns = [*OUTCOMES, *settings_of(config)]
    return ws.Workspace(
        entity=entity,
        project=tracking.project,
        name=f"kpod {group}" if group else "kpod",
        sections=_sections(config, objective),
        settings=ws.WorkspaceSettings(max_runs=MAX_RUNS),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Metric("Group") == group) if group else "",
            order=[expr.Ordering(expr.Summary(objective), ascending=is_ascending)],
            pinned_columns=[_column(name) for name in columns],
        ),
    )


def _sections(config: RunConfig, objective: str) -> list[Any]:
    """Return the sections of the workspace; ``objective`` is the name of the objective on W&B."""
    import wandb_workspaces.workspaces as ws

    sections = {
        "Sweep": (_sweep_panels(settings_of(config), objective), 2),
        "Curves by stage": (_curve_panels(), 3),
        "Keypoints": (_keypoint_panels(), 2),
        "Outcome": (_outcome_panels(), 2),
    }
    return [
        ws.Section(
            name=name,
            panels=panels,
            is_open=True,
            layout_settings=ws.SectionLayoutSettings(
                columns=num_columns, rows=-(-len(panels) // num_columns)
            ),
        )
        for name, (panels, num_columns) in sections.items()
    ]


def _column(name: str) -> str:
    """Return W&B's name of a column: settings have ``.value`` after the first part of their path."""
    if name in OUTCOMES:
        return f"summary:{name}"
    first, rest = name.split(".", 1)
    return f"config:{first}.value.{rest}"


def settings_of(config: RunConfig) -> dict[str, str]:
    """Return dotted path -> label of the drawn settings, in order.

    The settings are those of ``sweep.space``, or those of `VALUE_SETTINGS` if the space is empty. A
    label is the last part of the path and its symbol of `VALUE_SETTINGS`, if any: ``num_clusters (K)``.
    """
    paths = list(config.sweep.space) or list(VALUE_SETTINGS)
    symbols = {
        path: f" ({VALUE_SETTINGS[path]})" if path in VALUE_SETTINGS else "" for path in paths
    }
    return {path: f"{path.rpartition('.')[2]}{symbol}" for path, symbol in symbols.items()}


def _sweep_panels(settings: Mapping[str, str], objective: str) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    column = wr.ParallelCoordinatesPlotColumn
    label = objective.split("/")[1].replace("_", " ")
    columns = [column(metric=wr.Config(path), display_name=name) for path, name in settings.items()]
    columns.append(column(metric=wr.SummaryMetric(objective), display_name=label))
    scatters = [
        wr.ScatterPlot(
            title=f"{label.capitalize()} by {path.rpartition('.')[2]}",
            x=wr.Config(path),
            y=wr.SummaryMetric(objective),
        )
        for path in list(settings)[:MAX_SCATTERS]
    ]
    return [
        wr.ParallelCoordinatesPlot(title=f"Settings, and {label}", columns=columns),
        wr.ParameterImportancePlot(with_respect_to=objective),
        *scatters,
    ]


def _curve_panels() -> list[Any]:
    train = "train/train_step"
    return [
        _line("Validation loss, nats", train, "train/validation_loss"),
        _line("Validation token accuracy", train, "train/validation_token_accuracy"),
        _line("Stage", train, "train/stage"),
        _line("Weighted loss", train, "train/loss"),
        _line(
            "Rationale and answer loss, nats", train, "train/rationale_loss", "train/answer_loss"
        ),
        _line("Tokens per second", train, "train/tokens_per_s"),
        _line("Given steps, mean", "schedule/stage", "schedule/given_steps_mean"),
        _line(
            "Difficulty: ceiling and plan, nats",
            "schedule/stage",
            "schedule/ceiling",
            "schedule/planned",
        ),
        _line("Step difficulties", "step_difficulty/nats", "step_difficulty/share"),
    ]


def _keypoint_panels() -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [
        _line("Token weights", "token_weight/weight", "token_weight/share"),
        _line("Keypoint share of the loss weight", "train/train_step", "train/keypoint_share"),
        _line("Spread of the weights while learnt", "weigh/train_step", "weigh/weight_spread"),
        wr.BarPlot(
            title="Keypoint share of the loss weight, mean",
            metrics=[wr.SummaryMetric("outcome/keypoint_share")],
        ),
        wr.BarPlot(
            title="Keypoints above function words, AUC",
            metrics=[wr.SummaryMetric("phase/weigh/auc")],
        ),
        wr.WeavePanelSummaryTable(table_name="tables/rationales"),
        wr.WeavePanelSummaryTable(table_name="tables/rejects"),
    ]


def _outcome_panels() -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    names = ("outcome/accuracy_before", "outcome/accuracy")
    accuracies = [wr.SummaryMetric(name) for name in names]
    return [
        wr.BarPlot(title="Accuracy before and after", metrics=accuracies),
        wr.BarPlot(title="Early stops", metrics=[wr.SummaryMetric("outcome/early_stops")]),
        wr.ScatterPlot(
            title="Accuracy by validation loss",
            x=wr.SummaryMetric("outcome/validation_loss"),
            y=wr.SummaryMetric("outcome/accuracy"),
        ),
        wr.WeavePanelSummaryTable(table_name="tables/predictions"),
        wr.MediaBrowser(title="Report", media_keys=["report"], num_columns=1),
    ]


def _line(title: str, x: str, *y: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(title=title, x=x, y=list(y))
