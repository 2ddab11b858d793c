import json

import pytest

from kpod_ray.schedule.scheduler import Scheduler
from kpod_ray.schedule.tables import Decision
from kpod_ray.storage.store import Store


def test_a_decision_is_written_down_before_it_is_given(tmp_path):
    scheduler = Scheduler(str(tmp_path), "train/x", "plan/y", 4)
    assert scheduler.decide(2) == Decision(2, "plan/y", 2)
    written = json.loads(Store.open(str(tmp_path)).read_text("train/x/decisions.json"))
    assert written["2"]["plan"] == "plan/y"
    assert written["2"]["plan_stage"] == 2


def test_a_new_scheduler_repeats_earlier_decisions(tmp_path):
    Scheduler(str(tmp_path), "train/x", "plan/y", 4).decide(1)
    later = Scheduler(str(tmp_path), "train/x", "another/plan", 4)
    assert later.decide(1) == Decision(1, "plan/y", 1)
    assert later.decide(2) == Decision(2, "another/plan", 2)


def test_statistics_stand_beside_their_decision(tmp_path):
    scheduler = Scheduler(str(tmp_path), "train/x", "plan/y", 4)
    scheduler.decide(1)
    scheduler.report_stage(1, {"loss": 0.5})
    later = Scheduler(str(tmp_path), "train/x", "plan/y", 4)
    assert later.decisions["1"]["statistics"] == {"loss": 0.5}


@pytest.mark.parametrize("stage", [0, -1])
def test_there_is_no_decision_below_the_first_stage(tmp_path, stage):
    with pytest.raises(ValueError, match="expected at least 1"):
        Scheduler(str(tmp_path), "train/x", "plan/y", 4).decide(stage)


def test_a_killed_actor_answers_as_before(ray_cluster, tmp_path):
    import ray

    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    actor = ray.remote(Scheduler).options(**options).remote(str(tmp_path), "train/x", "plan/y", 4)
    first = ray.get(actor.decide.remote(3))
    ray.kill(actor, no_restart=False)
    assert ray.get(actor.decide.remote(3), timeout=60) == first


@pytest.mark.parametrize("stage", [4, 5, 50])
def test_beyond_the_last_stage_the_plan_is_that_of_the_last(tmp_path, stage):
    scheduler = Scheduler(str(tmp_path), "train/x", "plan/y", 4)
    assert scheduler.decide(stage) == Decision(stage, "plan/y", 4)
