"""The schedule as tables: from arrays over all questions to rows, and back.

Questions are always in the order of their ids. Everything here works on whole columns.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kpod_ray.algorithm.schedule import Plan
from kpod_ray.records import StageRow
from kpod_ray.storage.artifacts import Store


@dataclasses.dataclass(frozen=True)
class StepValues:
    """A number for every reasoning step of every question."""

    question_ids: pa.Array
    """[Q], sorted."""
    values: npt.NDArray[np.float64]
    """[sum of num_steps], question after question."""
    num_steps: npt.NDArray[np.int64]
    """[Q]."""


def step_values(table: pa.Table, column: str) -> StepValues:
    """Return a column of lists, one number a reasoning step, in the order of the question ids."""
    table = table.select(["question_id", column]).sort_by("question_id").combine_chunks()
    lists = pc.cast(table[column], pa.list_(pa.float64())).combine_chunks()
    return StepValues(
        table["question_id"].combine_chunks(),
        lists.flatten().to_numpy(),
        lists.value_lengths().to_numpy().astype(np.int64),
    )


def write_plan(store: Store, folder: str, question_ids: pa.Array, plan: Plan) -> None:
    """Write the tables ``schedule`` and ``totals.json`` of a plan, the schedule last."""
    totals = {"ceilings": plan.ceilings.tolist(), "planned": plan.planned.tolist()}
    store.write_text(f"{folder}/totals.json", json.dumps(totals))
    store.write_table(f"{folder}/schedule.parquet", schedule_table(question_ids, plan))


def schedule_table(question_ids: pa.Array, plan: Plan) -> pa.Table:
    """Return a row for each stage and each question that takes part in it, stage by stage."""
    rows, questions = np.nonzero(plan.included)
    columns = {
        "question_id": question_ids.take(pa.array(questions)),
        "stage": (rows + plan.first_stage).astype(np.int32),
        "num_given_steps": plan.num_given_steps[plan.included],
    }
    return pa.table(columns, schema=StageRow.schema)


def given_steps(schedule: pa.Table, stage: int) -> dict[str, int]:
    """Return the given steps of every question that takes part in a stage, by question id."""
    rows = schedule.filter(pc.field("stage") == stage)
    ids, given = rows["question_id"].to_pylist(), rows["num_given_steps"].to_pylist()
    return dict(zip(ids, given, strict=True))


@dataclasses.dataclass(frozen=True)
class Decision:
    """What a stage trains on: small enough to be broadcast to every worker."""

    stage: int
    """1 or more; beyond the number of stages it is the last one over and over."""
    plan: str
    """Folder whose ``schedule`` table says who takes part, with how many given steps."""
    plan_stage: int
    """Stage of that table."""
