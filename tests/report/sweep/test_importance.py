import pytest

from kpod_ray.config import Domain
from kpod_ray.report.sweep.data import common_stage
from kpod_ray.report.sweep.importance import importances


def test_what_mattered_is_found_and_what_did_not_is_last(swept):
    _, objectives = common_stage(swept.trials)
    compared = [trial for trial in swept.trials if trial.trial_id in objectives]
    settings = [trial.settings for trial in compared]
    shares = importances(swept.sweep.space, settings, list(objectives.values()))
    assert next(iter(shares)) == "student.learning_rate"
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(swept.sweep.space, settings[:3], [1.0, 2.0, 3.0]) == {}
    assert importances(swept.sweep.space, settings, [1.0] * len(settings)) == {}


SPACE = {
    "student.learning_rate": Domain(loguniform=(1e-6, 1e-4)),
    "schedule.num_clusters": Domain(randint=(2, 12)),
}


@pytest.mark.parametrize("step", [1.0, 1e-17, 1e-300])
def test_settings_that_do_not_vary_explain_nothing(step):
    settings = [{"student.learning_rate": 1e-5, "schedule.num_clusters": 5}] * 6
    assert importances(SPACE, settings, [step * i for i in range(6)]) == {}


def test_objectives_that_hardly_vary_fail_no_report():
    settings = [
        {"student.learning_rate": 1e-5 * (i + 1), "schedule.num_clusters": 5} for i in range(6)
    ]
    shares = importances(SPACE, settings, [1e-200 * i for i in range(6)])
    assert shares == {} or sum(shares.values()) == pytest.approx(1)
