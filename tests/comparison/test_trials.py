"""What seeds of a comparison share, the fingerprints of its arms, and the choice of learning rates."""

import pytest

from kpod_ray.comparison.preparing import trial_artifacts
from kpod_ray.comparison.trials import (
    arm_settings,
    longer_budget,
    planned_arms,
    trial_config,
)
from kpod_ray.comparison.tuning import best_rate, tuning_seeds
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.checks import check_comparison
from kpod_ray.pipeline.naming import name_run
from kpod_ray.report.comparison.outcomes import Outcomes
from tests.comparison.comparisons import trial_outcome, unrun_config


@pytest.mark.parametrize(
    ("resample", "own"),
    [
        ("order", {"train", "evaluate"}),
        ("questions", {"questions", "teacher", "weigh", "assess", "plan", "train", "evaluate"}),
        ("all", {"questions", "teacher", "weigh", "assess", "plan", "train", "evaluate"}),
    ],
)
def test_seeds_share_the_artifacts_that_they_do_not_draw(tmp_path, resample, own):
    config = unrun_config(tmp_path, resample=resample)
    zero, one = (name_run(trial_config(config, "kpod", s)).artifacts for s in (0, 1))
    differing = {name for name in zero if zero[name].folder != one[name].folder}
    assert differing - {"evaluate_before"} == own


def test_outcomes_belong_to_the_further_sets_and_trials_answer_them(tmp_path):
    config = unrun_config(tmp_path)
    more = config.override({"evaluation.also": {"more": {"source": "arithmetic"}}})
    other = more.override({"evaluation.also.more.num_test": 3})
    settings = [arm_settings(each) for each in (config, more, other)]
    assert all(len({each[arm] for each in settings}) == 3 for arm in settings[0])
    assert trial_artifacts(config) == ("train", "evaluate")
    names = trial_artifacts(more)
    made = list(name_run(trial_config(more, "kpod", 0)).artifacts)
    own = [name for name in made if name in names]
    assert sorted(own) == sorted(names)
    assert names[0] == "questions_also"
    assert names[-1] == "evaluate_also"


def test_only_all_draws_the_random_numbers_of_the_weighter(tmp_path):
    seeds = {
        resample: [
            trial_config(unrun_config(tmp_path, resample=resample), "kpod", seed).seed
            for seed in (0, 1)
        ]
        for resample in ("order", "questions", "all")
    }
    assert seeds == {"order": [7, 7], "questions": [7, 7], "all": [0, 1]}


def test_arms_of_one_seed_share_their_corpus(tmp_path):
    config = unrun_config(tmp_path, resample="all")
    uniform, kpod = (name_run(trial_config(config, a, 3)).artifacts for a in ("uniform", "kpod"))
    for name in ("questions", "teacher", "weigh", "assess"):
        assert uniform[name].folder == kpod[name].folder


def test_further_arms_and_seeds_change_no_fingerprint(tmp_path):
    settings = arm_settings(unrun_config(tmp_path))
    more = arm_settings(unrun_config(tmp_path, arms=["kpod", "uniform", "dft"], num_seeds=9))
    assert set(settings) == {"untrained", "uniform", "kpod"}
    assert {arm: more[arm] for arm in settings} == settings
    assert len(set(more.values())) == 4


@pytest.mark.parametrize(
    ("student", "comparison"),
    [
        ({"warmup": 0.1}, {}),
        ({}, {"resample": "questions"}),
        ({}, {"resample": "all"}),
        ({}, {"budget": "loss_tokens"}),
        ({}, {"learning_rates": [1e-3]}),
        ({}, {"learning_rates": [1e-3, 1e-4]}),
        ({}, {"learning_rates": [1e-3], "num_tuning_seeds": 2}),
    ],
)
def test_every_other_setting_changes_them(tmp_path, student, comparison):
    before = arm_settings(unrun_config(tmp_path))
    after = arm_settings(unrun_config(tmp_path, student, **comparison))
    assert before["kpod"] != after["kpod"]


def test_where_rates_are_chosen_the_rate_of_the_config_and_their_order_are_no_setting(tmp_path):
    first = arm_settings(unrun_config(tmp_path, {"learning_rate": 1}, learning_rates=[1e-3, 1e-4]))
    other = arm_settings(unrun_config(tmp_path, {"learning_rate": 2}, learning_rates=[1e-4, 1e-3]))
    assert first == other


def test_the_best_rate_is_that_of_the_best_mean_and_the_smallest_of_equal_ones():
    accuracies = {1e-2: [0.1, 0.3], 1e-3: [0.5, 0.1], 1e-4: [0.3, 0.3]}
    chosen = best_rate("kpod", "f", accuracies)
    assert chosen.learning_rate == 1e-4
    assert chosen.accuracies == ((1e-4, 0.3), (1e-3, 0.3), (1e-2, 0.2))


def test_seeds_that_choose_rates_are_none_of_the_comparison(tmp_path):
    config = unrun_config(tmp_path, first_seed=989_999, num_seeds=10_000, num_tuning_seeds=3)
    assert max(config.comparison.seeds()) < min(tuning_seeds(config))
    assert len(tuning_seeds(config)) == 3


@pytest.mark.parametrize(
    ("budget", "planned"), [("train_steps", ["kpod"]), ("loss_tokens", ["uniform", "kpod"])]
)
def test_the_baseline_is_planned_again_only_where_it_sets_the_budget(tmp_path, budget, planned):
    config = unrun_config(tmp_path, budget=budget)
    assert planned_arms(config, [("kpod", 3), ("kpod", 4)]) == planned
    assert planned_arms(config, [("kpod", 3), ("uniform", 4)]) == ["uniform", "kpod"]
    assert planned_arms(config, []) == []


def test_the_longer_baseline_costs_as_much_as_the_most_expensive_arm(tmp_path):
    # 10 of 100 train tokens are in the loss, and 20 more tokens are no training: for a cost of 520,
    # the training may have 500 tokens, 50 of them in the loss.
    outcomes = Outcomes()
    for arm, costs in (("uniform", (120, 100, 10)), ("kpod", (520, 90, 9))):
        cost, train, loss = costs
        outcomes = outcomes.with_trial(
            trial_outcome(arm, 4, "f", cost_tokens=cost, train_tokens=train, supervised_tokens=loss)
        )
    assert longer_budget(unrun_config(tmp_path), outcomes, 4) == 50


@pytest.mark.parametrize(
    ("comparison", "words"),
    [
        ({"contrasts": [["kpod", "dft"]]}, "contrasts: dft is not among the arms; add it to arms"),
        ({"contrasts": [["kpod", "kpod"]]}, "kpod is compared with itself"),
        ({"contrasts": [["kpod", "uniform"], ["uniform", "kpod"]]}, "is listed twice"),
        ({"learning_rates": [1e-3, 1e-3]}, "learning_rates: a rate is listed twice"),
        ({"learning_rates": [0]}, "greater than 0"),
        ({"first_seed": 990_000}, "less than or equal to"),
        ({"custom_arms": {"longer_baseline": {}}}, "longer_baseline is a built-in arm"),
    ],
)
def test_a_comparison_that_makes_no_sense_is_refused(tmp_path, comparison, words):
    with pytest.raises(ValueError, match=words):
        unrun_config(tmp_path, **comparison)


def test_an_arm_with_a_rate_of_its_own_has_none_to_be_chosen(tmp_path):
    own = {"fast": {"overrides": {"student": {"learning_rate": 1e-2}}}}
    fast = {"arms": ["uniform", "fast"], "custom_arms": own}
    with pytest.raises(ValueError, match=r"arm fast changes student\.learning_rate, which"):
        unrun_config(tmp_path, **fast, learning_rates=[1e-3])
    assert unrun_config(tmp_path, **fast).comparison.chosen()["fast"]


@pytest.mark.parametrize(
    ("student", "is_enough"),
    [
        ({}, False),
        ({"validation_fraction": 0.5}, False),
        ({"validation_fraction": 0.5, "accuracy_every_stages": 5}, True),
    ],
)
def test_a_choice_of_rates_needs_the_validation_accuracy(tmp_path, student, is_enough):
    config = unrun_config(tmp_path, student, learning_rates=[1e-3])
    if is_enough:
        check_comparison(config)
        return
    with pytest.raises(KpodError, match="are chosen by validation accuracy; set student"):
        check_comparison(config)
