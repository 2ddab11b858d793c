"""``kpod show RUN schedule``: print the stages of a run, finished, current and planned.

The command also works while the student trains: the training writes its decisions stage by stage.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from rich import box
from rich.table import Table

from kpod_ray.cli.terminal import Terminal
from kpod_ray.schedule.tables import StepValues, decided_schedule, given_steps, step_values
from kpod_ray.storage.artifacts import Artifact

FINISHED, UNDER_WAY, PLANNED = "finished", "under way", "planned"


@dataclasses.dataclass(frozen=True)
class StageState:
    """One stage: the scheduler's decision if there is one, otherwise the plan."""

    stage: int
    """Number of the stage, from 1."""
    state: str
    """``finished``, ``under way`` (decided, not finished) or ``planned``."""
    num_questions: int
    """Questions that are trained on at this stage."""
    given_steps_mean: float
    """Mean number of given steps of these questions; 0 without questions."""
    difficulty_fraction: float
    """Difficulty of the steps of these questions that aren't given, as a fraction of the difficulty of
    all steps of all questions in the schedule (Eq. 9); NaN if all difficulties are 0."""
    decided_at: float | None
    """Time of the scheduler's decision, in seconds since the epoch; None for a planned stage."""
    statistics: Mapping[str, float]
    """Metrics of the stage by name, see `stage_statistics`; empty for a stage that isn't finished."""


def collect_stages(artifacts: Mapping[str, Artifact]) -> list[StageState]:
    """Return all stages of a run whose phases ``assess`` and ``plan`` are finished, from stage 1.

    ``train`` may be missing, running or finished. The stages are those of phase ``plan`` and, with
    replanning, those that the training has added. The given steps of a stage that the training has
    decided are those of the plan in its decision, which may be a newer plan.

    Args:
        artifacts: name -> artifact of the run; ``assess``, ``plan`` and ``train`` are used.

    Raises:
        KpodError: A file of the artifacts can't be read.
    """
    plan = artifacts["plan"]
    train = artifacts["train"]
    decisions: dict[str, Any] = {}
    if train.is_finished() or train.store.exists(f"{train.folder}/decisions.json"):
        decisions = train.read_json("decisions")
    table = artifacts["assess"].read("difficulties")
    trained_on = plan.read("clusters")
    # validation questions have difficulties, too, but no part in the schedule
    table = table.filter(pc.is_in(table["question_id"], trained_on["question_id"]))
    difficulties = step_values(table, "step_difficulties")
    planned = plan.read("schedule")
    last = max(max(planned["stage"].to_pylist()), *map(int, decisions), 0)
    stages = []
    for stage in range(1, last + 1):
        decision = decisions.get(str(stage), {"plan": plan.folder, "plan_stage": stage})
        is_changed = decision["plan"] != plan.folder
        table = decided_schedule(plan.store, decision["plan"]) if is_changed else planned
        stages.append(_state(stage, decision, table, difficulties))
    return stages


def _state(
    stage: int, decision: Mapping[str, Any], schedule: pa.Table, difficulties: StepValues
) -> StageState:
    given = given_steps(schedule, decision["plan_stage"])
    decided_at, statistics = decision.get("decided_at"), decision.get("statistics", {})
    state = FINISHED if statistics else UNDER_WAY if decided_at else PLANNED
    mean = float(np.mean(list(given.values()))) if given else 0.0
    share = _difficulty_fraction(given, difficulties)
    return StageState(stage, state, len(given), mean, share, decided_at, statistics)


def _difficulty_fraction(given: Mapping[str, int], difficulties: StepValues) -> float:
    """Return the difficulty of the steps that aren't given, as a fraction of all difficulty (Eq. 9).

    ``given`` maps a question id to the number of given steps; all steps of other questions count as
    given.
    """
    is_supervised: npt.NDArray[np.bool_] = np.concatenate(
        [
            np.arange(num_steps) >= given.get(question_id, num_steps)
            for question_id, num_steps in zip(
                difficulties.question_ids.to_pylist(), difficulties.num_steps.tolist(), strict=True
            )
        ]
    )
    total = difficulties.values.sum()
    return float(difficulties.values[is_supervised].sum() / total) if total else math.nan


def print_schedule(stages: list[StageState], console: Terminal) -> None:
    """Print a table with one row for each stage, in the given order, at most 80 columns wide."""
    table = Table("stage", "state", title="schedule", box=box.SIMPLE, pad_edge=False)
    table.collapse_padding = True
    names = {"train_steps": ",.0f", "loss": ".3f", "tokens_per_s": ",.0f"}
    for name in ("questions", "given steps", "difficulty", "train steps", "loss", "tokens/s"):
        table.add_column(name, justify="right")
    for row in stages:
        means = [format(row.statistics[n], f) if row.statistics else "" for n, f in names.items()]
        given = f"{row.given_steps_mean:.2f}"
        fraction = row.difficulty_fraction
        share = "" if math.isnan(fraction) else f"{fraction:.0%}"
        table.add_row(str(row.stage), row.state, f"{row.num_questions:,}", given, share, *means)
    console.print(table)
