"""An adaptive scheduler: what it decides on, and that it decides but once."""

import dataclasses
import itertools
import json

import numpy as np
import pyarrow as pa
import pytest

from kpod_ray.algorithm.schedule import plan_stages
from kpod_ray.config import ScheduleConfig
from kpod_ray.records import StepDifficulty, StepLosses
from kpod_ray.schedule.replan import Replanner
from kpod_ray.schedule.scheduler import Scheduler
from kpod_ray.schedule.settings import schedule_settings
from kpod_ray.schedule.tables import Decision, given_steps, step_values, write_plan
from kpod_ray.storage.store import Store

SCHEDULE = ScheduleConfig(num_stages=5, full_stage=4, num_clusters=2, adaptive=True)
REPLANNER = Replanner(SCHEDULE, assess="assess/a", clusters="plan/p", train="train/t")
NUM_STEPS = [1, 2, 3, 4, 5, 3, 2, 4, 1, 6]


@pytest.fixture
def store(tmp_path):
    """A store with difficulties, clusters and the plan before training; its rows are in no order."""
    store = Store.open(str(tmp_path))
    rng = np.random.default_rng(0)
    rows = [
        StepDifficulty(f"q{i}", rng.lognormal(0, 0.5, n).tolist(), [1.0] * n)
        for i, n in enumerate(NUM_STEPS)
    ]
    store.write_table("assess/a/difficulties.parquet", StepDifficulty.to_table(reversed(rows)))
    values = step_values(StepDifficulty.to_table(rows), "step_difficulties")
    clusters = np.arange(len(rows)) % 2
    plan = plan_stages(values.values, values.num_steps, clusters, schedule_settings(SCHEDULE))
    write_plan(store, "plan/p", values.question_ids, plan)

    store.write_table(
        "plan/p/clusters.parquet",
        pa.table({"question_id": values.question_ids, "cluster_id": clusters}),
    )
    return store


def scheduler(store):
    return Scheduler(store.root, "train/t", "plan/p", SCHEDULE.num_stages, REPLANNER)


def given(store, decision):
    return given_steps(store.read_table(f"{decision.plan}/schedule.parquet"), decision.plan_stage)


def measure(store, stage, decided, factor):
    """Write a stage's step losses: the first difficulties times a factor where a step is emitted."""
    rows = StepDifficulty.from_table(store.read_table("assess/a/difficulties.parquet"))
    losses = [
        StepLosses(
            row.question_id,
            [
                difficulty * factor if k >= decided[row.question_id] else float("nan")
                for k, difficulty in enumerate(row.step_difficulties)
            ],
        )
        for row in rows
    ]
    store.write_table(f"train/t/step_losses/stage-{stage}.parquet", StepLosses.to_table(losses))


def run(store, factor, num_stages=SCHEDULE.num_stages):
    """Decide on every stage, with the losses of the one before at hand; return decisions, given."""
    decisions, schedules = [], []
    for stage in range(1, num_stages + 1):
        decisions.append(scheduler(store).decide(stage))  # a new one each time: nothing in memory
        schedules.append(given(store, decisions[-1]))
        measure(store, stage, schedules[-1], factor(stage))
    return decisions, schedules


def test_with_unchanged_losses_the_stages_are_those_of_the_plan(store):
    decisions, schedules = run(store, lambda stage: 1.0)
    plan = store.read_table("plan/p/schedule.parquet")
    assert schedules == [given_steps(plan, stage) for stage in range(1, 6)]
    assert [d.plan for d in decisions] == [f"train/t/replans/stage-{t}" for t in range(1, 6)]
    assert [d.plan_stage for d in decisions] == [1, 2, 3, 4, 5]


def test_a_learning_student_gets_harder_questions_sooner(store):
    _, adaptive = run(store, lambda stage: 0.5**stage)
    plan = store.read_table("plan/p/schedule.parquet")
    planned = [given_steps(plan, stage) for stage in range(1, 6)]
    assert adaptive[0] == planned[0]
    assert sum(adaptive[1].values()) < sum(planned[1].values())
    for before, after in itertools.pairwise(adaptive):
        assert all(after[i] <= before[i] for i in after)
    assert not any(adaptive[4].values())


def test_a_stage_that_was_not_measured_takes_the_first_difficulties(store):
    decision = scheduler(store).decide(2)
    plan = store.read_table("plan/p/schedule.parquet")
    assert given(store, decision) == given_steps(plan, 2)


def test_a_decision_is_kept_whatever_is_measured_later(store):
    decisions, schedules = run(store, lambda stage: 0.5**stage)
    for stage, schedule in enumerate(schedules, 1):
        measure(store, stage, schedule, 100.0)
    later = scheduler(store)
    for stage, (decision, schedule) in enumerate(zip(decisions, schedules, strict=True), 1):
        assert later.decide(stage) == decision
        assert given(store, decision) == schedule


def test_the_plan_is_there_before_the_decision(store):
    scheduler(store).decide(1)
    written = json.loads(store.read_text("train/t/decisions.json"))
    assert written["1"]["plan"] == "train/t/replans/stage-1"
    totals = json.loads(store.read_text("train/t/replans/stage-1/totals.json"))
    assert totals["planned"][0] <= totals["ceilings"][0]


def test_beyond_the_last_stage_it_is_the_last_one_again(store):
    run(store, lambda stage: 1.0)
    last = scheduler(store).decide(5)
    assert scheduler(store).decide(9) == dataclasses.replace(last, stage=9)


def test_uniform_weights_replan_from_their_own_difficulties(store):
    uniform = SCHEDULE.model_copy(update={"difficulty_weights": "uniform"})
    replanner = dataclasses.replace(REPLANNER, schedule=uniform)
    folder = replanner.replan(store, 1, "plan/p", 0)
    totals = json.loads(store.read_text(f"{folder}/totals.json"))
    share = 0.3 + 0.7 * (1 / 4) ** 1.5
    assert totals["ceilings"] == pytest.approx([sum(NUM_STEPS) * share])


def test_a_killed_adaptive_actor_answers_as_before(ray_cluster, store):
    import ray

    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    actor = (
        ray.remote(Scheduler)
        .options(**options)
        .remote(store.root, "train/t", "plan/p", SCHEDULE.num_stages, REPLANNER)
    )
    first = ray.get(actor.decide.remote(2))
    assert first == Decision(2, "train/t/replans/stage-2", 2)
    measure(store, 1, given(store, first), 0.1)
    ray.kill(actor, no_restart=False)
    assert ray.get(actor.decide.remote(2), timeout=60) == first
