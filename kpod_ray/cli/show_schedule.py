"""The schedule of a run in the terminal, also while it trains: what was decided, what is planned."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from rich import box
from rich.console import Console
from rich.table import Table

from kpod_ray.schedule.tables import StepValues, given_steps, step_values
from kpod_ray.storage.artifacts import Artifact

FINISHED, UNDER_WAY, PLANNED = "finished", "under way", "planned"


@dataclasses.dataclass(frozen=True)
class StageState:
    """One stage as it was decided, or else as it is planned."""

    stage: int
    state: str
    """``finished``, ``under way`` (decided, not finished) or ``planned``."""
    num_questions: int
    """Questions that take part."""
    given_steps_mean: float
    """Reasoning steps handed to the student, mean over these questions."""
    difficulty_fraction: float
    """Difficulty of the steps that the student writes, of that of all steps of all questions."""
    decided_at: float | None
    """Seconds since the epoch; None when it isn't decided."""
    statistics: Mapping[str, float]
    """Means over the train steps; empty when it isn't finished."""


def collect_stages(artifacts: Mapping[str, Artifact]) -> list[StageState]:
    """Return the stages of a run whose ``plan`` and ``assess`` are finished, also while it trains."""
    plan, train = artifacts["plan"], artifacts["train"]
    path, decisions = f"{train.folder}/decisions.json", dict[str, Any]()
    if train.store.exists(path):
        decisions = json.loads(train.store.read_text(path))
    table, trained_on = artifacts["assess"].read("difficulties"), plan.read("clusters")
    table = table.filter(pc.is_in(table["question_id"], trained_on["question_id"]))
    difficulties = step_values(table, "step_difficulties")
    planned = plan.read("schedule")
    last = max(max(planned["stage"].to_pylist()), *map(int, decisions), 0)
    stages = []
    for stage in range(1, last + 1):
        decision = decisions.get(str(stage), {"plan": plan.folder, "plan_stage": stage})
        is_changed = decision["plan"] != plan.folder
        table = (
            plan.store.read_table(f"{decision['plan']}/schedule.parquet") if is_changed else planned
        )
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
    """Return the share of all difficulty that lies in the steps which are not given (Eq. 9)."""
    written: npt.NDArray[np.bool_] = np.concatenate(
        [
            np.arange(num_steps) >= given.get(question_id, num_steps)
            for question_id, num_steps in zip(
                difficulties.question_ids.to_pylist(), difficulties.num_steps.tolist(), strict=True
            )
        ]
    )
    return float(difficulties.values[written].sum() / difficulties.values.sum())


def print_schedule(stages: list[StageState], console: Console) -> None:
    """Print a table of the stages, which fits a terminal of 80 columns."""
    table = Table("stage", "state", title="schedule", box=box.SIMPLE, pad_edge=False)
    table.collapse_padding = True
    names = {"train_steps": ",.0f", "loss": ".3f", "tokens_per_s": ",.0f"}
    for name in ("questions", "given steps", "difficulty", "train steps", "loss", "tokens/s"):
        table.add_column(name, justify="right")
    for row in stages:
        told = [format(row.statistics[n], f) if row.statistics else "" for n, f in names.items()]
        given, share = f"{row.given_steps_mean:.2f}", f"{row.difficulty_fraction:.0%}"
        table.add_row(str(row.stage), row.state, f"{row.num_questions:,}", given, share, *told)
    console.print(table)
