import dataclasses

import numpy as np
import pytest

from kpod_ray.report.comparison.data import ArmResults, ComparisonResults

CORRECT = np.array([[True, False, True], [True, True, False]])


def arm(name, correct=CORRECT):
    return ArmResults(name, "", {}, correct)


def comparison(*arms, baseline="a"):
    return ComparisonResults("c", baseline, "", (0, 1), arms, (1, 2, 2))


def test_an_arm_has_the_seeds_of_the_comparison_or_one():
    results = comparison(arm("a"), arm("b", CORRECT[:1]))
    assert [one.num_seeds for one in results.arms] == [2, 1]
    assert results.num_questions == 3
    assert results.baseline_arm is results.arms[0]


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        ((arm("a"), arm("a")), "the same name"),
        ((arm("b"),), "baseline a is no arm"),
        ((arm("a"), arm("b", CORRECT[:, :2])), "b: 2 of 3 questions"),
        ((arm("a"), arm("b", np.vstack([CORRECT, CORRECT]))), "b: 4 of 2 seeds"),
    ],
)
def test_arms_that_cannot_be_compared_raise(arms, words):
    with pytest.raises(ValueError, match=words):
        comparison(*arms)


@pytest.mark.parametrize("correct", [CORRECT[0], CORRECT.astype(int), CORRECT[:0], CORRECT[:, :0]])
def test_answers_that_are_no_table_of_booleans_raise(correct):
    with pytest.raises(ValueError, match="a: answers must be a table"):
        arm("a", correct)


def test_results_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        arm("a").name = "b"
