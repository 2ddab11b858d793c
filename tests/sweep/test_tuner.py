import functools
import os
import signal
import subprocess
import sys
import time

import pytest

from kpod_ray.config import SweepConfig
from kpod_ray.errors import KpodError
from kpod_ray.report.sweep.data import FAILED, FINISHED, STOPPED, ranked, saved_fraction
from kpod_ray.storage.artifacts import Store
from kpod_ray.sweep.tuner import WRITTEN_DOWN_SECONDS, Sweep, tune_trials
from tests.sweep.planted import planted, run


@pytest.fixture(scope="module")
def tuned(ray_cluster, tmp_path_factory):
    """A sweep over a planted objective, seeded."""
    folder = tmp_path_factory.mktemp("sweep")
    return folder, run(folder, 0, search="optuna", num_trials=14)


def test_the_better_region_of_a_planted_objective_is_found(tuned):
    _, trials = tuned
    assert len(trials) == 14
    best = ranked(trials, "validation_loss")[0]
    assert 0.45 < best.settings["schedule.growth"] < 0.95
    assert 1e-5 < best.settings["student.learning_rate"] < 1e-1
    assert best.score == pytest.approx(planted(best.settings))


def test_trials_that_do_badly_are_stopped_early(tuned):
    folder, trials = tuned
    stopped = [trial for trial in trials if trial.state == STOPPED]
    finished = [trial for trial in trials if trial.state == FINISHED]
    assert len(stopped) + len(finished) == 14
    assert len(stopped) > len(finished) > 0
    assert {trial.percent for trial in finished} == {100.0}
    assert {trial.percent for trial in stopped} <= {12.5, 50.0}
    assert sorted(os.listdir(folder / "marks")) == sorted(t.trial_id for t in finished)
    done = sum(trial.percent for trial in trials)
    assert saved_fraction(trials) == pytest.approx(1 - done / 1400)
    assert saved_fraction(trials) > 0.4


def test_a_sweep_that_is_finished_is_not_run_again(tuned):
    folder, trials = tuned
    again = run(folder, 0, search="optuna", num_trials=14)
    assert {t.trial_id: t for t in again} == {t.trial_id: t for t in trials}
    for file in (folder / "marks").iterdir():
        assert file.read_text() == "finished\n"


def explode(trial_id, settings, report):
    if settings["schedule.num_clusters"] == 3:
        raise KpodError("the gradient isn't finite")
    return float(settings["schedule.num_clusters"])


def grid(folder):
    space = {
        "schedule.num_clusters": {"choice": [2, 3, 5]},
        "schedule.solver": {"choice": ["merge", "threshold"]},
    }
    config = SweepConfig(space=space, search="grid", early_stopping="none")
    return Sweep(config, Store.open(str(folder)), "grid", 0, 3)


def test_a_grid_has_every_combination_once_and_a_failure_is_told(ray_cluster, tmp_path):
    trials = tune_trials(explode, grid(tmp_path))
    tried = sorted(tuple(trial.settings.values()) for trial in trials)
    assert tried == [(n, solver) for n in (2, 3, 5) for solver in ("merge", "threshold")]
    failed = [trial for trial in trials if trial.state == FAILED]
    assert {trial.settings["schedule.num_clusters"] for trial in failed} == {3}
    assert all("the gradient isn't finite" in trial.error for trial in failed)
    assert [trial.score for trial in ranked(trials, "validation_loss")] == [2, 2, 5, 5]
    # What Tune keeps of a sweep may be cut off.
    file = tmp_path / "sweeps" / "grid" / "tuner.pkl"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(
        KpodError, match=r"^the saved state of the sweep in .*sweeps/grid is damaged; de"
    ):
        tune_trials(functools.partial(explode), grid(tmp_path))


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_sweep_runs_no_finished_trial_again(tmp_path):
    command = [sys.executable, "-m", "tests.sweep.planted", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    marks = tmp_path / "marks"
    first = subprocess.Popen(command, env=environment, start_new_session=True)
    while not marks.is_dir() or len(list(marks.iterdir())) < 3:
        assert first.poll() is None
        time.sleep(0.2)
    known = {file.name for file in marks.iterdir()}
    time.sleep(3 * WRITTEN_DOWN_SECONDS)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    before = {file.name for file in marks.iterdir()}
    assert len(before) < 8  # three at a time
    assert subprocess.run(command, env=environment, timeout=300).returncode == 0
    assert (tmp_path / "states").read_text().split() == [FINISHED] * 8
    assert {file.name for file in marks.iterdir()} > before
    again = [name for name in before if (marks / name).read_text() != "finished\n"]
    # Only of those that ended in the last moment it may not have been written down.
    assert set(again) <= before - known
