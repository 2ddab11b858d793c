import functools
import json
import os
import pickle
import signal
import subprocess
import sys
import time

import pytest

from kpod_ray.config import SweepConfig
from kpod_ray.errors import KpodError
from kpod_ray.report.sweep.data import FAILED, FINISHED, STOPPED, ranked, saved_fraction
from kpod_ray.storage.store import Store
from kpod_ray.sweep.proposals import propose
from kpod_ray.sweep.tuner import Sweep, tune_trials
from tests.sweep.planted import KILLED, config_of, planted, run


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


def double(trial_id, settings, report):
    return 2.0 * settings["schedule.num_clusters"]


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
    # Failed trials are run again, the others aren't.
    again = tune_trials(functools.partial(double), grid(tmp_path))
    assert all(trial.state == FINISHED for trial in again)
    assert sorted(trial.score for trial in again) == [2, 2, 5, 5, 6, 6]
    assert [trial.settings for trial in again] == [trial.settings for trial in trials]
    file = tmp_path / "sweeps" / "grid" / "0003.json"
    file.write_bytes(file.read_bytes()[:40])  # a record that is cut off
    with pytest.raises(
        KpodError, match=r"^the saved state of the sweep in .*sweeps/grid/0003.json is damaged; de"
    ):
        tune_trials(functools.partial(explode), grid(tmp_path))


class Writes:
    """An object whose pickle writes a file when it is read."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


def plant(folder, file):
    """Replace all that is kept of a sweep, and what Ray Tune would keep, by a pickle with code."""
    names = ("tuner.pkl", "trainable.pkl", "searcher-state-1.pkl", "search_gen_state-1.json")
    for name in (*names, "experiment_state-1.json", "0001.pkl"):
        (folder / name).write_bytes(pickle.dumps(Writes(file)))


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
    time.sleep(4)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    before = {file.name for file in marks.iterdir()}
    assert len(before) < 8  # three at a time
    plant(tmp_path / "store/sweeps/planted", tmp_path / "was here")
    assert subprocess.run(command, env=environment, timeout=300).returncode == 0
    trials = json.loads((tmp_path / "trials.json").read_text())
    assert [trial["state"] for trial in trials] == [FINISHED] * 8
    assert {file.name for file in marks.iterdir()} > before
    again = [name for name in before if (marks / name).read_text() != "finished\n"]
    # Only of those that ended in the last moment it may not have been written down.
    assert set(again) <= before - known
    assert not (tmp_path / "was here").exists()
    for number, trial in enumerate(trials):  # as if the sweep had not been touched
        settings = propose(config_of(**KILLED), 0, number, [])
        value = planted(settings)
        assert trial["settings"] == settings
        assert trial["curve"] == [[12.5, value + 1 / 12.5], [50, value + 1 / 50], [100, value]]


def record(folder, number, state, *curve):
    settings = propose(config_of(), 0, number, [])
    trial = {"trial_id": "", "settings": settings, "curve": curve, "state": state, "error": ""}
    file = folder / "store/sweeps/planted" / f"{number:04d}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(trial))


@pytest.mark.parametrize("rule", ["asha", "median"])
def test_trials_are_stopped_by_results_of_before_the_kill(ray_cluster, tmp_path, rule):
    for number in range(4):
        record(tmp_path, number, FINISHED, [12.5, -2], [50, -2], [100, -2])
    record(tmp_path, 4, "running", [12.5, -1])  # has passed the first rung
    trials = run(tmp_path, 0, search="random", early_stopping=rule, num_trials=6)
    assert [trial.state for trial in trials] == [FINISHED] * 4 + [STOPPED] * 2
    assert [trial.score for trial in trials[:4]] == [-2] * 4
    # The rule knows the earlier trials, so it stops the new one at once.
    assert [percent for percent, _ in trials[5].curve] == [12.5]
    if rule == "asha":  # decides once about each rung
        assert [percent for percent, _ in trials[4].curve] == [12.5, 50]
