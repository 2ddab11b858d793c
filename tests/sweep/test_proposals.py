"""A proposal depends on the number of the trial and on what is known, on nothing else."""

import itertools
import math

import pytest

from kpod_ray.config import SweepConfig
from kpod_ray.report.sweep.data import FAILED, FINISHED, STOPPED, SweepTrial
from kpod_ray.sweep.proposals import is_in_space, num_trials, propose
from tests.sweep.planted import planted

SPACE = {
    "schedule.growth": {"uniform": [0, 1]},
    "student.learning_rate": {"loguniform": [1e-6, 1]},
    "schedule.num_clusters": {"randint": [2, 4]},
    "schedule.solver": {"choice": ["merge", None, True, 1.5]},
}


def config_of(search, **settings):
    return SweepConfig.model_validate({"space": SPACE, "search": search, **settings})


def trial(number, settings, state=FINISHED):
    return SweepTrial(f"{number}", settings, ((100.0, planted(settings)),), state, "")


def swept(config, seed, known=()):
    """Run a sweep, one trial after the other, from what is known."""
    trials = list(known)
    for number in range(len(trials), num_trials(config)):
        trials.append(trial(number, propose(config, seed, number, trials)))
    return trials


@pytest.mark.parametrize("search", ["random", "optuna"])
def test_a_sweep_goes_on_as_if_it_had_never_been_interrupted(search):
    config = config_of(search, num_trials=20)
    whole = swept(config, 5)
    assert swept(config, 5, whole[:3]) == swept(config, 5, whole[:13]) == whole
    assert len({str(trial.settings) for trial in whole}) == 20
    assert swept(config, 6)[0] != whole[0]


def test_proposals_stay_in_the_space_and_reach_all_of_it():
    settings = [propose(config_of("random"), 0, number, []) for number in range(200)]
    assert all(is_in_space(config_of("random"), one) for one in settings)
    assert {one["schedule.num_clusters"] for one in settings} == {2, 3, 4}
    assert {one["schedule.solver"] for one in settings} == {"merge", None, True, 1.5}
    growths = sorted(one["schedule.growth"] for one in settings)
    rates = sorted(math.log10(one["student.learning_rate"]) for one in settings)
    # Uniform: the largest distance of the 200 samples from the distribution, by Kolmogorov's test.
    assert max(abs(growth - (i + 0.5) / 200) for i, growth in enumerate(growths)) < 0.12
    assert max(abs(rate / 6 + 1 - (i + 0.5) / 200) for i, rate in enumerate(rates)) < 0.12


def test_optuna_learns_from_finished_and_stopped_trials_alone():
    config = config_of("optuna", num_trials=40)
    ended = swept(config, 0)
    late = [planted(trial.settings) for trial in ended[20:]]
    early = [planted(trial.settings) for trial in ended[:10]]
    assert sorted(late)[10] < sorted(early)[5]  # medians
    expected = propose(config, 0, 40, ended)
    settings = ended[0].settings
    untold = [
        trial(40, settings, FAILED),
        trial(41, settings, "running"),
        SweepTrial("", settings, ((100.0, math.nan),), FINISHED, ""),
        SweepTrial("", settings, ((100.0, -math.inf),), FINISHED, ""),
        SweepTrial("", settings, (), STOPPED, ""),
    ]
    assert propose(config, 0, 40, [*ended, *untold]) == expected
    stopped = [trial(i, t.settings, STOPPED) for i, t in enumerate(ended)]
    assert propose(config, 0, 40, stopped) == expected


def test_a_grid_is_all_combinations_in_order():
    space = {"a": {"choice": [1, 2, 3]}, "b": {"choice": ["x", "y"]}}
    config = SweepConfig.model_validate({"space": space, "search": "grid", "num_trials": 1})
    assert num_trials(config) == 6
    settings = [tuple(propose(config, 0, number, []).values()) for number in range(6)]
    assert settings == list(itertools.product([1, 2, 3], "xy"))


@pytest.mark.parametrize(
    "change",
    [
        {"schedule.growth": 1.5},
        {"schedule.growth": "much"},
        {"schedule.growth": math.nan},
        {"student.learning_rate": 0.0},
        {"schedule.num_clusters": 5},
        {"schedule.solver": "other"},
        {"teacher.url": "http://elsewhere"},
    ],
)
def test_settings_outside_the_space_are_known(change):
    settings = propose(config_of("random"), 0, 0, [])
    assert is_in_space(config_of("random"), settings)
    assert not is_in_space(config_of("random"), {**settings, **change})
    del settings["schedule.growth"]
    assert not is_in_space(config_of("random"), settings)
