import pytest

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
