"""Schedules as tables, and back."""

import json

import numpy as np
import pyarrow as pa
import pytest

from kpod_ray.algorithm.schedule import Plan
from kpod_ray.records import StageRow, StepDifficulty, StepLosses
from kpod_ray.schedule.tables import given_steps, schedule_table, step_values, write_plan
from kpod_ray.storage.store import Store

IDS = pa.array(["a", "b", "c"])
PLAN = Plan(
    first_stage=4,
    num_given_steps=np.array([[2, 0, 1], [1, 0, 0]], np.int32),
    included=np.array([[True, False, True], [True, True, True]]),
    ceilings=np.array([5.0, 6.0]),
    planned=np.array([4.0, 6.0]),
)


def test_a_question_that_takes_no_part_has_no_row():
    table = schedule_table(IDS, PLAN)
    assert table.schema == StageRow.schema
    rows = [(r.question_id, r.stage, r.num_given_steps) for r in StageRow.from_table(table)]
    assert rows == [("a", 4, 2), ("c", 4, 1), ("a", 5, 1), ("b", 5, 0), ("c", 5, 0)]
    assert given_steps(table, 4) == {"a": 2, "c": 1}
    assert given_steps(table, 5) == {"a": 1, "b": 0, "c": 0}
    assert given_steps(table, 6) == {}


def test_a_plan_is_written_with_its_totals(tmp_path):
    store = Store.open(str(tmp_path))
    write_plan(store, "plan/x", IDS, PLAN)
    assert store.read_table("plan/x/schedule.parquet").equals(schedule_table(IDS, PLAN))
    totals = json.loads(store.read_text("plan/x/totals.json"))
    assert totals == {"ceilings": [5, 6], "planned": [4, 6]}


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("step_difficulties", [3, 1, 2.5, 4]),
        ("uniform_step_difficulties", [7, 5, 6, 8]),
    ],
)
def test_step_values_are_in_the_order_of_the_ids(column, expected):
    rows = [
        StepDifficulty("b", [1, 2.5], [5, 6]),
        StepDifficulty("a", [3], [7]),
        StepDifficulty("c", [4], [8]),
    ]
    found = step_values(StepDifficulty.to_table(rows), column)
    assert found.question_ids.to_pylist() == ["a", "b", "c"]
    assert found.num_steps.tolist() == [1, 2, 1]
    assert found.values.tolist() == expected
    assert found.values.dtype == np.float64


def test_what_was_not_measured_stays_unmeasured():
    table = StepLosses.to_table([StepLosses("b", [float("nan"), 2]), StepLosses("a", [1])])
    values = step_values(table, "step_losses").values
    np.testing.assert_array_equal(values, [1, np.nan, 2])
