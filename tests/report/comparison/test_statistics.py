import dataclasses

import numpy as np
import pytest

from kpod_ray.evaluation.crossed import crossed_test
from kpod_ray.evaluation.scoring import wilson_interval
from kpod_ray.evaluation.statistics import (
    holm,
    interval_over_seeds,
    paired_bootstrap,
    smallest_effect,
)
from kpod_ray.report.comparison.data import ArmResults, ComparisonResults, StagePoint
from kpod_ray.report.comparison.statistics import accuracy_at, findings


def comparison_of(answers, num_steps, baseline="base"):
    arms = tuple(ArmResults(name, "", {}, correct) for name, correct in answers.items())
    num_seeds = max(len(correct) for correct in answers.values())
    return ComparisonResults("c", baseline, "", tuple(range(num_seeds)), arms, num_steps)


def shares(generator, share, shape=(3, 300)):
    return generator.random(shape) < share


@pytest.fixture(scope="module")
def made():
    """A much better arm, a much worse one, the same answers again, and a deterministic arm."""
    generator = np.random.default_rng(0)
    base = shares(generator, 0.5)
    answers = {
        "good": base | shares(generator, 0.3),
        "base": base,
        "bad": base & shares(generator, 0.6),
        "same": base.copy(),
        "once": shares(generator, 0.5, (1, 300)),
    }
    return comparison_of(answers, (1, 2, 3) * 100)


def test_verdicts_of_arms_that_clearly_differ(made):
    verdicts = {name: one.verdict for name, one in findings(made).contrasts.items()}
    assert verdicts == {
        "good": "better", "bad": "worse", "same": "undecided", "once": "undecided",
    }  # fmt: skip


def test_the_baseline_has_an_accuracy_and_no_contrast(made):
    found = findings(made)
    assert len(found.accuracies) == 5
    assert "base" not in found.contrasts
    assert found.accuracies[1] == interval_over_seeds(made.arms[1].correct)


def test_an_arm_with_one_seed_has_wilson_s_interval_and_is_compared_with_every_seed(made):
    found, correct = findings(made), made.arms[4].correct
    low, high = wilson_interval(int(correct.sum()), 300)
    assert (found.accuracies[4].low, found.accuracies[4].high) == (low, high)
    repeated = np.repeat(correct, 3, axis=0)
    expected = paired_bootstrap(repeated, made.arms[1].correct, 0)
    assert found.contrasts["once"].difference == expected


def test_p_values_are_corrected_over_all_arms(made):
    contrasts = list(findings(made).contrasts.values())
    raw = [contrast.difference.p_value for contrast in contrasts]
    assert [contrast.adjusted_p for contrast in contrasts] == holm(raw)


def test_the_effect_among_several_is_larger_than_alone_and_equal_for_one(made):
    several = findings(made).contrasts["good"]
    assert several.effect_among > several.effect_alone > 0
    pair = dataclasses.replace(made, arms=made.arms[:2])
    single = findings(pair).contrasts["good"]
    assert single.effect_among == single.effect_alone == several.effect_alone
    assert single.adjusted_p == single.difference.p_value


def test_equal_answers_differ_by_nothing(made):
    same = findings(made).contrasts["same"]
    assert (same.difference.value, same.adjusted_p) == (0, 1)
    num_others = len(made.arms) - 1
    assert same.effect_among == smallest_effect(0.0, made.num_questions, num_others) > 0


def test_one_seed_is_compared_over_the_questions_alone():
    generator = np.random.default_rng(1)
    answers = {"base": shares(generator, 0.4, (1, 200)), "arm": shares(generator, 0.7, (1, 200))}
    found = findings(comparison_of(answers, (1,) * 200))
    assert found.contrasts["arm"].verdict == "better"
    counts = int(answers["base"].sum()), 200
    assert (found.accuracies[0].low, found.accuracies[0].high) == wilson_interval(*counts)


def test_exactly_the_contrasts_of_the_config_are_tested_and_corrected(made):
    pairs = (("good", "base"), ("good", "bad"))
    found = findings(dataclasses.replace(made, contrasts=pairs))
    assert list(found.contrasts) == ["good", "good - bad"]
    assert [(one.arm, one.other) for one in found.contrasts.values()] == list(pairs)
    raw = [one.difference.p_value for one in found.contrasts.values()]
    # Holm by hand for two: the smaller times 2, the larger at least as large.
    low, high = sorted(raw)
    adjusted = sorted(one.adjusted_p for one in found.contrasts.values())
    assert adjusted == pytest.approx([2 * low, max(2 * low, high)])
    good, bad = made.arms[0].correct, made.arms[2].correct
    assert found.contrasts["good - bad"].difference == paired_bootstrap(good, bad, 0)


def test_every_arm_has_a_difference_to_the_baseline_also_where_it_is_no_contrast(made):
    found = findings(made)
    chosen = findings(dataclasses.replace(made, contrasts=(("good", "bad"), ("base", "bad"))))
    assert list(chosen.to_baseline) == ["good", "bad", "same", "once"]
    assert chosen.to_baseline == found.to_baseline
    assert chosen.to_baseline["bad"] == chosen.contrasts["bad"].difference
    assert [(one.arm, one.other) for one in chosen.contrasts.values()] == [
        ("good", "bad"), ("bad", "base"),
    ]  # fmt: skip


@pytest.mark.parametrize("resample", ["questions", "all"])
def test_seeds_that_draw_questions_are_tested_as_crossed_samples(made, resample):
    found = findings(dataclasses.replace(made, resample=resample))
    base = made.arms[1].correct.astype(float)
    for name, arm in (("good", made.arms[0]), ("once", made.arms[4])):
        expected = crossed_test(np.repeat(arm.correct, 3 // len(arm.correct), axis=0) - base)
        assert found.contrasts[name].difference == expected
    good = found.contrasts["good"]
    size = (good.difference.standard_error, 300)
    assert good.effect_among == smallest_effect(*size, 4, good.difference.degrees)
    assert good.verdict == "better"


def trained(name, correct, cost):
    costs = {"cost_tokens": (cost,) * 2, "cost_seconds": (1.0, 3.0), "train_steps": (1, 1)}
    return ArmResults(name, "", {}, np.array(correct), **costs)


def test_the_baseline_at_equal_cost_is_on_the_line_between_its_two_trainings():
    # The baseline has 1 of 4 right for 100 tokens, and 3 of 4 for 300: 2 of 4 for 200, all seeds alike.
    base = trained("base", [[True, False, False, False]] * 2, 100)
    longer = trained("longer", [[True, True, True, False]] * 2, 300)
    arms = (
        base,
        trained("arm", [[True, True, True, True]] * 2, 200),
        trained("dear", [[True, True, False, False]] * 2, 300),
        trained("cheap", [[True, True, True, True]] * 2, 50),
    )
    results = ComparisonResults("c", "base", "", (0, 1), arms, (1,) * 4, longer_baseline=longer)
    costs = findings(results).costs
    assert (costs["arm"].tokens, costs["arm"].seconds) == (200, 2)
    assert costs["arm"].baseline_accuracy == pytest.approx(0.5)
    assert costs["arm"].difference.value == pytest.approx(0.5)
    assert costs["dear"].baseline_accuracy == pytest.approx(0.75)
    assert costs["dear"].difference.value == pytest.approx(-0.25)
    assert costs["base"].difference.value == 0
    assert (costs["cheap"].baseline_accuracy, costs["cheap"].difference) == (None, None)
    alone = findings(dataclasses.replace(results, longer_baseline=None)).costs
    assert {cost.baseline_accuracy for cost in alone.values()} == {None}


def point(stage, share, accuracy):
    return StagePoint(stage, 1.0, 1.0, 1, 0.0, accuracy, share)


def test_the_accuracy_at_a_share_is_that_of_the_nearest_measurement_within_an_eighth():
    one = (point(1, 0.2, 0.1), point(2, 0.4, None), point(3, 0.6, 0.3), point(4, 1.0, 0.5))
    other = (point(1, 0.3, 0.3), point(3, 0.5, 0.5), point(4, 1.0, 0.7))
    arm = dataclasses.replace(trained("a", [[True]] * 2, 1), curves=(one, other))
    assert accuracy_at(arm, 0.25) == pytest.approx((0.1 + 0.3) / 2)
    assert accuracy_at(arm, 0.5) == pytest.approx((0.3 + 0.5) / 2)
    assert accuracy_at(arm, 1) == pytest.approx((0.5 + 0.7) / 2)
    assert accuracy_at(arm, 0.8) is None
    assert accuracy_at(dataclasses.replace(arm, curves=()), 1) is None
