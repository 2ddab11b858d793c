"""The sentence that a comparison leads with, its verdicts, and its warnings."""

import dataclasses

import numpy as np
import pytest

from kpod_ray.report.comparison.data import ArmResults, ComparisonResults
from kpod_ray.report.comparison.headline import cautions, headline, leading_arms, verdicts
from kpod_ray.report.comparison.statistics import findings
from kpod_ray.report.comparison.wording import notes, sensitivity


def plain(text):
    return text.replace("\u00a0", " ").replace("\u202f", " ").replace("\u2212", "-")


def comparison_of(num_correct, contrasts=(), num_questions=200):
    """Return a comparison of arms with one seed, of which each has its first questions right.

    Args:
        num_correct: name of each arm -> number of right answers.
        contrasts: as in `ComparisonResults`.
        num_questions: number of questions.
    """
    arms = tuple(
        ArmResults(name, f"what {name} is", {}, (np.arange(num_questions) < number)[None])
        for name, number in num_correct.items()
    )
    return ComparisonResults("c", "base", "", (0,), arms, (1,) * num_questions, contrasts)


def said(results):
    return plain(headline(results, findings(results)))


def test_the_best_arm_that_is_better_leads():
    # 20 answers of 200 are right only with the arm, and none only without: 10 points, p < 0.001.
    line = said(comparison_of({"base": 60, "low": 61, "high": 80}))
    assert line.startswith(
        "Best: high, +10.0 points over base, significant at 5 % (95 % interval +"
    )
    assert line.endswith(", p (Holm) < 0.001).")


def test_a_difference_by_chance_is_called_not_proven():
    # One answer more: the bootstrap draws it not at all with a chance of 37 %.
    results = comparison_of({"base": 60, "kpod": 61})
    line = said(results)
    assert line.startswith(
        "Best: kpod, +0.5 points over base, not proven (95 % interval 0.0 to +1.5"
    )
    assert ". " not in line
    assert leading_arms(results, findings(results)) == ["kpod", "base"]


def test_the_baseline_may_be_the_best_and_the_next_one_is_named():
    results = comparison_of({"low": 20, "next": 59, "base": 60})
    line = said(results)
    assert line.startswith("Best: base, the baseline; next is next, -0.5 points, not proven (95 %")
    assert leading_arms(results, findings(results)) == ["next", "base"]
    assert "; next is low, -20.0 points, significant at 5 % (" in said(
        comparison_of({"low": 20, "base": 60})
    )


def test_of_equal_arms_the_baseline_is_the_best_and_else_the_first_one():
    assert said(comparison_of({"same": 60, "base": 60})).startswith(
        "Best: base, the baseline; next"
    )
    assert said(comparison_of({"base": 1, "b": 60, "a": 60})).startswith("Best: b, +29.5 points")


def test_a_best_arm_that_no_contrast_names_is_called_not_tested_and_proven_ones_are_named():
    arms = {"base": 60, "untested": 90, "proven": 80, "near": 61}
    line = said(comparison_of(arms, (("proven", "base"), ("near", "base"))))
    assert line.startswith("Best: untested, +15.0 points over base, not tested (95 % interval +")
    assert line.endswith("); better than base at 5 %: proven.")


def test_a_contrast_that_names_the_baseline_first_is_turned_round():
    line = said(comparison_of({"base": 60, "kpod": 80}, (("base", "kpod"),)))
    assert line.startswith("Best: kpod, +10.0 points over base, significant at 5 %")


def test_the_same_answers_have_no_interval_that_would_look_exact():
    line = said(comparison_of({"base": 60, "same": 60}))
    assert line == (
        "Best: base, the baseline; next is same, 0.0 points, not proven (no interval: the difference is "
        "the same for every answer, p (Holm) = 1.000)."
    )


def test_a_baseline_alone_is_compared_with_nothing():
    assert said(comparison_of({"base": 60})) == "There is no arm to compare base with."
    assert verdicts(findings(comparison_of({"base": 60}))) == []


def test_a_verdict_names_every_arm_once(comparison):
    text = " ".join(verdicts(findings(comparison)))
    words = text.replace(",", " ").replace(".", " ").split()
    for arm in comparison.arms:
        if arm.name != "uniform":
            assert words.count(arm.name) == 1


def test_contrasts_with_other_arms_are_named_with_both(comparison):
    pairs = (("kpod", "uniform"), ("kpod", "hand_weights"))
    chosen = dataclasses.replace(comparison, contrasts=pairs)
    found = findings(chosen)
    assert list(found.contrasts) == ["kpod", "kpod - hand_weights"]
    words = {
        "better": "Better than",
        "worse": "Worse than",
        "undecided": "Not proven to differ from",
    }
    assert verdicts(found) == [
        f"{words[one.verdict]} {other}: kpod."
        for one, (_, other) in zip(found.contrasts.values(), pairs, strict=True)
    ]
    assert "among 2 comparisons" in sensitivity(chosen, found)


def test_a_chosen_rate_at_an_end_of_the_grid_is_told(comparison):
    rates = ((1e-4, 0.3), (1e-3, 0.4), (1e-2, 0.2))
    chosen = {"uniform": 1e-3, "kpod": 1e-2, "dft": 1e-4}
    arms = tuple(
        dataclasses.replace(arm, tried_rates=rates, learning_rate=chosen[arm.name])
        for arm in comparison.arms
        if arm.name in chosen
    )
    chosen = dataclasses.replace(comparison, arms=arms)
    (general,) = [
        text for text in notes(chosen) if "isn't in the intervals" in text and "rate" in text
    ]
    assert general.startswith("Learning rate: chosen for each arm by validation accuracy")
    ends = [text for text in cautions(chosen) if text.startswith("The chosen learning rate is the")]
    assert ends == [
        "The chosen learning rate is the smallest one that was tried for dft: a smaller one may be "
        "better.",
        "The chosen learning rate is the largest one that was tried for kpod: a larger one may be "
        "better.",
    ]


@pytest.mark.parametrize("tried", [(), ((1e-3, 0.4),)])
def test_without_a_choice_no_end_of_a_grid_is_told(comparison, tried):
    arms = tuple(dataclasses.replace(arm, tried_rates=tried) for arm in comparison.arms)
    made = dataclasses.replace(comparison, arms=arms)
    assert not any("The chosen learning rate" in text for text in [*cautions(made), *notes(made)])
    assert any(text.startswith("Learning rate: chosen") for text in notes(made)) == bool(tried)


@pytest.mark.parametrize(("num_seeds", "is_said"), [(1, False), (3, True), (5, False)])
def test_few_seeds_are_said_to_tell_little(comparison, num_seeds, is_said):
    arms = tuple(dataclasses.replace(arm, correct=arm.correct[:1]) for arm in comparison.arms)
    made = dataclasses.replace(comparison, seeds=tuple(range(num_seeds)), arms=arms)
    assert ("tell little" in " ".join(cautions(made))) == is_said
    assert any(text.startswith("One seed: ") for text in cautions(made)) == (num_seeds == 1)
