from kpod_ray.report.sweep.data import common_stage


def test_trials_are_compared_where_all_of_them_were(swept):
    place, objectives = common_stage(swept.trials)
    assert place == 12.5
    assert len(objectives) == 15  # all but the one that failed
    alone = swept.finished()[:1]
    assert common_stage(tuple(alone)) == (100.0, {alone[0].trial_id: alone[0].score})
    assert common_stage(()) == (0.0, {})
