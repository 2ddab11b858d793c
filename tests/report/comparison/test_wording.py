import dataclasses

import pytest

from kpod_ray.evaluation.statistics import Discordance, PairedDifference
from kpod_ray.report.comparison import wording
from kpod_ray.report.comparison.statistics import Contrast, findings
from kpod_ray.report.formatting import p_text


def contrast(value=0.02, adjusted_p=0.3, num_better=30, num_worse=20):
    difference = PairedDifference(value, value - 0.03, value + 0.03, adjusted_p / 2, 0.015)
    discordance = Discordance(num_better, num_worse, 0.2)
    return Contrast("arm", "base", difference, adjusted_p, discordance, 0.042, 0.0553, 9)


def plain(text):
    return text.replace("\u00a0", " ").replace("\u202f", " ").replace("\u2212", "-")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (contrast(0.05, 0.01), "better"),
        (contrast(-0.05, 0.01), "worse"),
        (contrast(0.05, 0.05), "not proven (the test could have seen 5.5 points)"),
        (contrast(0.0, 1.0, 0, 0), "no difference: the same answers are right"),
    ],
)  # fmt: skip
def test_a_verdict_says_no_more_than_the_corrected_p_value(given, words):
    assert wording.verdict_text(given) == words


@pytest.mark.parametrize(
    ("p_value", "shown"), [(0.0002, "< 0.001"), (0.001, "0.001"), (0.0316, "0.032"), (1, "1.000")]
)
def test_p_values_have_three_decimals(p_value, shown):
    assert plain(p_text(p_value)) == shown


def test_intervals_carry_their_signs():
    assert plain(wording.range_text(-0.012, 0.034)) == "-1.2 to +3.4"


def test_the_sensitivity_holds_the_medians(comparison):
    found = findings(comparison)
    line = plain(wording.sensitivity(comparison, found))
    assert line.startswith("With 3 seeds and 150 questions the test finds, with a chance of 80 %, ")
    effects = sorted(one.effect_among for one in found.contrasts.values())
    assert f"of {100 * effects[5]:.1f} points among 11 comparisons" in line
    assert plain(wording.smallest_effect_tile(found).value) == f"{100 * effects[5]:.1f} points"


def test_a_baseline_alone_is_compared_with_nothing(comparison):
    alone = dataclasses.replace(comparison, arms=(comparison.baseline_arm,))
    found = findings(alone)
    assert wording.sensitivity(alone, found) == "Nothing was compared."


def test_two_arms_need_no_word_on_several_comparisons(comparison):
    pair = dataclasses.replace(comparison, arms=comparison.arms[2:4])
    assert "among" not in wording.sensitivity(pair, findings(pair))


def test_one_seed_is_said_to_hide_the_luck_of_seeds(comparison):
    arms = tuple(dataclasses.replace(arm, correct=arm.correct[:1]) for arm in comparison.arms)
    single = dataclasses.replace(comparison, seeds=(0,), arms=arms)
    assert "How far another seed would move it isn't known" in wording.notes(single)[0]
    assert "t-interval" in wording.notes(comparison)[0]
    assert "its p is too small" in wording.notes(comparison)[-1]


def test_the_number_of_seeds_that_three_points_need_is_said(comparison):
    found = findings(comparison)
    numbers = sorted(one.seeds_needed or 10**9 for one in found.contrasts.values())
    line = plain(wording.sensitivity(comparison, found))
    if numbers[5] < 10**9:
        assert f"A difference of 3 points would need {numbers[5]:,} seeds." in line
    else:
        assert "No number of seeds finds 3 points with 150 questions" in line


@pytest.mark.parametrize(
    ("resample", "words"),
    [
        ("order", ("paired bootstrap", "All seeds share the training questions")),
        ("questions", ("Satterthwaite", "its own training questions, whose variance")),
        ("all", ("Satterthwaite", "token weighter and plan, whose variance")),
    ],
)
def test_the_notes_say_what_the_intervals_hold_for(comparison, resample, words):
    text = " ".join(wording.notes(dataclasses.replace(comparison, resample=resample)))
    assert all(word in text for word in words)
    assert "Equal cost" not in text
    longer = dataclasses.replace(comparison, longer_baseline=comparison.baseline_arm)
    assert "Equal cost" in " ".join(wording.notes(longer))
