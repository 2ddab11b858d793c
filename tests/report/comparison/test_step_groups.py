"""Accuracies by number of reasoning steps, and the cells that show them."""

import math

import numpy as np
import pytest

from kpod_ray.evaluation.crossed import crossed_test
from kpod_ray.report.comparison.data import ArmResults, ComparisonResults
from kpod_ray.report.comparison.step_groups import step_cells, step_groups


def comparison_of(answers, num_steps):
    arms = tuple(ArmResults(name, "", {}, correct) for name, correct in answers.items())
    num_seeds = max(len(correct) for correct in answers.values())
    return ComparisonResults("c", "base", "", tuple(range(num_seeds)), arms, num_steps)


def test_accuracy_by_number_of_steps_counted_by_hand():
    base = np.array([[True, False, True, True], [True, True, False, True]])
    arm = np.array([[False, False, True, True], [False, True, True, True]])
    groups = step_groups(comparison_of({"base": base, "arm": arm}, (5, 2, 2, 2)))
    assert [(group.num_steps, group.num_questions) for group in groups] == [(2, 3), (5, 1)]
    assert groups[0].accuracies == pytest.approx((4 / 6, 5 / 6))
    assert groups[1].accuracies == (1, 0)


def test_cells_are_tinted_by_their_difference_to_the_baseline(comparison):
    groups = step_groups(comparison)
    rows = step_cells(comparison, groups)
    assert {cell.tint for cell in rows[2]} == {""}
    shades = []
    for arm, cells in enumerate(rows):
        for group, cell in zip(groups, cells, strict=True):
            difference = group.accuracies[arm] - group.accuracies[2]
            assert (
                cell.tint == {1: "above", -1: "below", 0: ""}[(difference > 0) - (difference < 0)]
            )
            shades.append(float(cell.shade))
    assert math.isclose(max(shades), 1)
    assert min(shades) == 0


@pytest.mark.parametrize(
    ("num_better", "shade"), [(0, "0.000"), (1, "0.250"), (3, "0.750"), (4, "1.000"), (20, "1.000")]
)
def test_the_tint_has_one_scale_for_all_comparisons(num_better, shade):
    # One answer of 20 is 5 points, a quarter of the 20 points of the strongest tint.
    base, arm = np.zeros((1, 20), dtype=bool), np.arange(20)[None] < num_better
    results = comparison_of({"base": base, "arm": arm}, (2,) * 20)
    (cell,) = step_cells(results, step_groups(results))[1]
    assert cell.shade == shade


def test_a_cell_has_the_paired_difference_with_its_interval():
    generator = np.random.default_rng(2)
    base, arm = (generator.random((3, 40)) < share for share in (0.4, 0.6))
    results = comparison_of({"base": base, "arm": arm}, (1,) * 10 + (2,) * 30)
    cells = step_cells(results, step_groups(results))
    assert [cell.difference for cell in cells[0]] == ["", ""]
    for cell, inside in zip(cells[1], (slice(0, 10), slice(10, 40)), strict=True):
        test = crossed_test((arm.astype(float) - base)[:, inside])
        value, half = 100 * test.value, 100 * (test.high - test.value)
        assert cell.difference.replace("\u2212", "-") == f"{value:+.1f} \u00b1 {half:.1f}"


def test_equal_answers_have_no_interval_that_would_look_exact():
    base = np.ones((2, 4), dtype=bool)
    results = comparison_of({"base": base, "arm": base.copy()}, (1,) * 4)
    (cell,) = step_cells(results, step_groups(results))[1]
    assert (cell.difference, cell.tint) == ("0.0", "")
