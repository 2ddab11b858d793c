"""`kpod show RUN schedule` shows what was decided and what is planned, also while a run trains."""

import io
import json
import math
import re

import pyarrow as pa
import pytest

from kpod_ray.cli.show_schedule import StageState, collect_stages, print_schedule
from kpod_ray.cli.terminal import Terminal
from kpod_ray.records import StageRow, StepDifficulty
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store

STATISTICS = {"train_steps": 2, "loss": 1.25, "tokens_per_s": 4321.0}


@pytest.fixture
def artifacts(tmp_path):
    """Two questions of two steps each, one harder than the other; three planned stages."""
    store = Store.open(str(tmp_path))
    made = {name: Artifact.of(store, name, 1, {}, []) for name in ("assess", "plan", "train")}
    rows = [StepDifficulty("a", [1, 2], [9, 9]), StepDifficulty("b", [3, 4], [9, 9])]
    rows.append(StepDifficulty("held out", [50], [9]))
    made["assess"].write("difficulties", StepDifficulty.to_table(rows))
    given = {0: {"a": 2, "b": 2}, 1: {"a": 1}, 2: {"a": 1, "b": 1}, 3: {"a": 0, "b": 0}}
    table = StageRow.to_table(
        StageRow(i, stage, num) for stage, of_stage in given.items() for i, num in of_stage.items()
    )
    made["plan"].write("schedule", table)
    made["plan"].write("clusters", pa.table({"question_id": ["a", "b"], "cluster_id": [0, 0]}))
    return made


def decide(artifacts, decisions):
    train = artifacts["train"]
    train.store.write_text(f"{train.folder}/decisions.json", json.dumps(decisions))


def test_before_training_all_stages_are_planned(artifacts):
    assert collect_stages(artifacts) == [
        StageState(1, "planned", 1, 1.0, 0.2, None, {}),
        StageState(2, "planned", 2, 1.0, 0.6, None, {}),
        StageState(3, "planned", 2, 0.0, 1.0, None, {}),
    ]


def test_decisions_replace_the_plan_and_go_beyond_it(artifacts):
    plan, train = artifacts["plan"].folder, artifacts["train"]
    changed = f"{train.folder}/replans/stage-2"
    table = StageRow.to_table([StageRow("b", 2, 0)])
    train.store.write_table(f"{changed}/schedule.parquet", table)
    decision = {"plan": plan, "plan_stage": 1, "decided_at": 5.0}
    decide(
        artifacts,
        {
            "1": {**decision, "statistics": STATISTICS},
            "2": {**decision, "plan": changed, "plan_stage": 2},
            "4": {**decision, "plan_stage": 3},
        },
    )
    assert collect_stages(artifacts) == [
        StageState(1, "finished", 1, 1.0, 0.2, 5.0, STATISTICS),
        StageState(2, "under way", 1, 0.0, 0.7, 5.0, {}),
        StageState(3, "planned", 2, 0.0, 1.0, None, {}),
        StageState(4, "under way", 2, 0.0, 1.0, 5.0, {}),
    ]


def test_the_table_has_a_line_for_each_stage(artifacts):
    decision = {"plan": artifacts["plan"].folder, "plan_stage": 1, "decided_at": 0.0}
    decide(artifacts, {"1": {**decision, "statistics": STATISTICS}})
    console = Terminal(file=io.StringIO(), width=80)
    print_schedule(collect_stages(artifacts), console)
    lines = console.file.getvalue().splitlines()
    first = next(line for line in lines if "finished" in line)
    assert [told in first for told in ("1.00", "20%", "1.250", "4,321")] == [True] * 4
    assert sum("planned" in line for line in lines) == 2


def test_without_any_difficulty_there_is_no_fraction(artifacts):
    rows = [StepDifficulty(name, [0, 0], [9, 9]) for name in ("a", "b")]
    artifacts["assess"].write("difficulties", StepDifficulty.to_table(rows))
    stages = collect_stages(artifacts)
    assert all(math.isnan(stage.difficulty_fraction) for stage in stages)
    console = Terminal(file=io.StringIO(), width=80)
    print_schedule(stages, console)
    assert not re.search("nan|%", console.file.getvalue())
