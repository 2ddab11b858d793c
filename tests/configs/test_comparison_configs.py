"""The preregistered comparison on verbose rationales: its arms, contrasts, seeds and resources."""

import pytest

from kpod_ray.comparison.trials import trial_config
from kpod_ray.config import HandWeighting, LearnedWeighting, load
from tests.conftest import REPOSITORY

CONFIG = load(REPOSITORY / "configs" / "comparison" / "compare-verbose.yaml")
LEARNED = "kpod_without_progress"
SETTINGS = {
    # arm: token weights, boundary, order of the schedule, weighting, floor
    "uniform": ("uniform", None, "none", None, None),
    "shuffled_weights": ("shuffled", True, "none", LearnedWeighting, 0.1),
    "hand_weights": ("from_weighting", True, "none", HandWeighting, None),
    LEARNED: ("from_weighting", True, "none", LearnedWeighting, 0.1),
    "without_boundary": ("from_weighting", False, "none", LearnedWeighting, 0.1),
    "paper_weights": ("from_weighting", False, "none", LearnedWeighting, None),
    "kpod_paper": ("from_weighting", False, "progressive", LearnedWeighting, None),
    "kpod": ("from_weighting", True, "progressive", LearnedWeighting, 0.1),
}


def test_it_has_the_arms_of_the_question():
    assert set(CONFIG.comparison.arms) == set(SETTINGS)


@pytest.mark.parametrize("arm", SETTINGS)
def test_an_arm_differs_from_the_others_in_what_its_name_says(arm):
    config = trial_config(CONFIG, arm, 3)
    token_weights, boundary, order, kind, floor = SETTINGS[arm]
    assert (config.student.token_weights, config.schedule.order) == (token_weights, order)
    if kind is not None:  # uniform weights are 1 everywhere: its boundary and weighting do nothing
        assert config.student.boundary is boundary
        assert type(config.weighting) is kind
        assert getattr(config.weighting, "floor", None) == floor
    assert (config.seed, config.training_seed, config.questions.train_seed) == (3, 3, 3)
    assert config.questions.test_seed == 0


def test_every_claim_has_a_contrast():
    contrasts = set(CONFIG.comparison.contrasts)
    assert (LEARNED, "uniform") in contrasts  # weights with boundary help
    assert (LEARNED, "hand_weights") in contrasts  # more than a rule does
    assert (LEARNED, "shuffled_weights") in contrasts  # because of which tokens weigh more
    assert (LEARNED, "without_boundary") in contrasts  # and the boundary has a part in it
    assert ("kpod_paper", "uniform") in contrasts  # the paper's claim


def test_seeds_and_test_questions_are_those_that_were_stated():
    comparison = CONFIG.comparison
    assert (comparison.num_seeds, comparison.resample) == (12, "all")
    assert (CONFIG.questions.num_test, CONFIG.evaluation.limit) == (1200, None)
    assert comparison.baseline == "uniform"


def test_every_arm_s_rate_is_chosen_by_enough_answers():
    # Two accuracies of 80 answers differ by up to 16 points by luck (two standard errors), of 960 by 5.
    comparison, student = CONFIG.comparison, CONFIG.student
    num_held_out = student.validation_fraction * CONFIG.questions.num_train
    assert comparison.num_tuning_seeds * num_held_out >= 960
    assert CONFIG.questions.num_train - num_held_out == 320
    assert len(comparison.learning_rates) == 4


def test_what_runs_at_the_same_time_does_not_share_cores():
    resources = CONFIG.resources
    for name in ("teacher", "weighting", "apply_weighter", "assess", "train", "evaluate"):
        assert getattr(resources, name).num_threads == 1
