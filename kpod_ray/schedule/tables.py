"""The schedule as Arrow tables: from arrays over all questions to rows, and back.

Arrays over questions are sorted by question id. All functions work on whole columns, not on rows.
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
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store


@dataclasses.dataclass(frozen=True)
class StepValues:
    """One number for every reasoning step of every question."""

    question_ids: pa.Array
    """[Q], strings in ascending order."""
    values: npt.NDArray[np.float64]
    """[sum of num_steps], all steps of the first question in order, then those of the next one."""
    num_steps: npt.NDArray[np.int64]
    """[Q], number of reasoning steps."""


def step_values(table: pa.Table, column: str) -> StepValues:
    """Return the values of a list column as float64, sorted by question id; the values are read-only.

    ``table`` has one row for each question, in any order, with a unique ``question_id``, which isn't
    checked. The column ``column`` holds a list of one number for each reasoning step; NaN is kept, and
    neither a list nor a number may be null.

    Raises:
        KeyError: The table lacks a column.
    """
    table = table.select(["question_id", column]).sort_by("question_id").combine_chunks()
    lists = pc.cast(table[column], pa.list_(pa.float64())).combine_chunks()
    return StepValues(
        table["question_id"].combine_chunks(),
        lists.flatten().to_numpy(),
        lists.value_lengths().to_numpy().astype(np.int64),
    )


def write_plan(store: Store, folder: str, question_ids: pa.Array, plan: Plan) -> None:
    """Write a plan as ``totals.json`` and then ``schedule.parquet`` (`schedule_table`) in ``folder``.

    ``totals.json`` holds the lists ``ceilings`` and ``planned``, in nats, with one number for each stage
    of the plan. Each write is atomic and replaces an existing file; a failed call may have written
    ``totals.json`` alone. ``folder`` is relative to the store's root, and ``question_ids`` [Q] are
    strings in the order of the plan's arrays.
    """
    totals = {"ceilings": plan.ceilings.tolist(), "planned": plan.planned.tolist()}
    store.write_text(f"{folder}/totals.json", json.dumps(totals))
    store.write_table(f"{folder}/schedule.parquet", schedule_table(question_ids, plan))


def schedule_table(question_ids: pa.Array, plan: Plan) -> pa.Table:
    """Return a plan as `StageRow` rows, for the questions included in each stage.

    The rows are sorted by stage; the rows of a stage are in the order of ``question_ids``: [Q], strings,
    in the order of the plan's arrays.
    """
    rows, questions = np.nonzero(plan.included)
    columns = {
        "question_id": question_ids.take(pa.array(questions)),
        "stage": (rows + plan.first_stage).astype(np.int32),
        "num_given_steps": plan.num_given_steps[plan.included],
    }
    return pa.table(columns, schema=StageRow.schema)


def decided_schedule(store: Store, folder: str) -> pa.Table:
    """Return the `StageRow` rows of the plan in a folder, as a `Decision` names it.

    The folder is that of an artifact of phase ``plan``, or a subfolder of an artifact ``train``.

    Raises:
        KpodError: The table can't be read, see `Artifact`.
    """
    phase, fingerprint, *subfolders = folder.split("/")
    return Artifact(store, phase, fingerprint).read("/".join([*subfolders, "schedule"]))


def given_steps(schedule: pa.Table, stage: int) -> dict[str, int]:
    """Return the number of given steps by question id of every question included in a stage.

    ``schedule`` has `StageRow` rows, in which no question occurs twice in a stage. Questions that aren't
    included are missing; without rows of the stage the result is empty.
    """
    rows = schedule.filter(pc.field("stage") == stage)
    ids = rows["question_id"].to_pylist()
    given = rows["num_given_steps"].to_pylist()
    return dict(zip(ids, given, strict=True))


@dataclasses.dataclass(frozen=True)
class Decision:
    """The plan that one stage trains on; small enough to be broadcast to every worker."""

    stage: int
    """Stage, at least 1. Stages beyond ``schedule.num_stages`` repeat the last one."""
    plan: str
    """Folder, relative to the store's root, of the plan whose table ``schedule`` holds the questions and
    their given steps."""
    plan_stage: int
    """Stage of that table whose rows apply."""
