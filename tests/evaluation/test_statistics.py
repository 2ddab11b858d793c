"""Paired statistics against numbers worked out by hand, scipy, brute force and simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kpod_ray.evaluation.statistics import (
    NUM_DRAWS,
    compare_paired,
    holm,
    interval_over_seeds,
    mcnemar,
    paired_bootstrap,
    smallest_effect,
)


def answers(*rows):
    """Return answers from rows of 0 and 1."""
    return np.array([[mark == "1" for mark in row] for row in rows])


def simulated(generator, effect, *, num_seeds=5, num_questions=300, seed_sd=0.01):
    """Return answers of a method and its baseline whose accuracies truly differ by ``effect``.

    Questions differ in difficulty, the methods differ more on some questions than on others, and each
    method has better and worse seeds.
    """
    easiness = 0.2 + 0.6 * generator.random(num_questions)
    of_question = generator.normal(0, 0.05, num_questions)
    luck = generator.normal(0, seed_sd, (2, num_seeds, 1))
    method = np.clip(easiness + effect + of_question + luck[0], 0, 1)
    baseline = np.clip(easiness + luck[1], 0, 1)
    shape = (num_seeds, num_questions)
    return generator.random(shape) < method, generator.random(shape) < baseline


def test_interval_over_seeds_by_hand():
    # Seed means 2/4, 3/4, 4/4: mean 3/4, standard deviation 1/4; t_{0.975, 2} = 4.302653.
    # Half the interval: 4.302653 / 4 / sqrt 3 = 0.621034, cut off at 1.
    estimate = interval_over_seeds(answers("1100", "1110", "1111"))
    assert estimate.value == 0.75
    assert estimate.low == pytest.approx(0.75 - 0.621034, abs=1e-6)
    assert estimate.high == 1


def test_interval_over_seeds_equals_scipy_s():
    correct = np.random.default_rng(0).random((4, 50)) < 0.4
    means = correct.mean(axis=1)
    expected = stats.t.interval(0.95, 3, means.mean(), stats.sem(means))
    estimate = interval_over_seeds(correct)
    assert (estimate.low, estimate.high) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(1, 5), (0, 5), (3, 0)])
def test_an_interval_over_seeds_needs_two_seeds_and_a_question(shape):
    with pytest.raises(ValueError, match="no interval"):
        interval_over_seeds(np.zeros(shape, dtype=bool))


def test_mcnemar_by_hand():
    # 5 pairs better, 1 worse: p = 2 (C(6,0) + C(6,1)) / 2^6 = 14/64.
    found = mcnemar(answers("11111011"), answers("00000111"))
    assert (found.num_better, found.num_worse) == (5, 1)
    assert found.p_value == pytest.approx(14 / 64)


@given(num_better=st.integers(0, 30), num_worse=st.integers(0, 30))
@settings(max_examples=50, deadline=None)
def test_mcnemar_is_the_binomial_test_counted_out(num_better, num_worse):
    correct = np.array([[True] * num_better + [False] * num_worse + [True]])
    baseline = np.array([[False] * num_better + [True] * num_worse + [True]])
    total, fewer = num_better + num_worse, min(num_better, num_worse)
    tail = sum(math.comb(total, k) for k in range(fewer + 1)) / 2**total
    assert mcnemar(correct, baseline).p_value == pytest.approx(min(1.0, 2 * tail))


def test_mcnemar_pools_the_pairs_of_all_seeds():
    pooled = mcnemar(answers("1100", "1010"), answers("1000", "0011"))
    flat = mcnemar(answers("11001010"), answers("10000011"))
    assert pooled == flat
    assert (pooled.num_better, pooled.num_worse) == (2, 1)


def test_equal_methods_differ_by_0_with_p_1():
    correct = np.random.default_rng(0).random((3, 40)) < 0.5
    found = paired_bootstrap(correct, correct, seed=0)
    assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert found.standard_error == 0
    assert mcnemar(correct, correct).p_value == 1


def test_the_difference_is_that_of_the_accuracies():
    generator = np.random.default_rng(1)
    correct, baseline = generator.random((2, 3, 80)) < 0.5
    found = paired_bootstrap(correct, baseline, seed=0)
    assert found.value == pytest.approx(correct.mean() - baseline.mean())
    assert found.low < found.value < found.high


def test_swapping_the_methods_turns_the_sign_only():
    correct, baseline = simulated(np.random.default_rng(2), 0.03)
    found = paired_bootstrap(correct, baseline, seed=5)
    swapped = paired_bootstrap(baseline, correct, seed=5)
    assert (swapped.value, swapped.low, swapped.high) == pytest.approx(
        (-found.value, -found.high, -found.low)
    )
    assert swapped.p_value == found.p_value


def test_the_same_seed_gives_the_same_numbers_and_another_nearly_so():
    correct, baseline = simulated(np.random.default_rng(3), 0.02)
    first = paired_bootstrap(correct, baseline, seed=0)
    assert first == paired_bootstrap(correct, baseline, seed=0)
    other = paired_bootstrap(correct, baseline, seed=1)
    assert first != other
    assert (other.low, other.high) == pytest.approx((first.low, first.high), abs=0.002)


def test_one_seed_gives_the_bootstrap_over_questions_counted_out():
    # All 4^4 equally likely draws of four questions; NUM_DRAWS of them come near.
    correct, baseline = answers("1101"), answers("0110")
    differences = np.array([1, 0, -1, 1])
    means = [np.mean(draw) for draw in itertools.product(differences, repeat=4)]
    found = paired_bootstrap(correct, baseline, seed=0)
    assert found.standard_error == pytest.approx(np.std(means), rel=0.03)
    tail = np.mean(np.array(means) <= 0)
    assert found.p_value == pytest.approx(2 * tail, abs=5 * math.sqrt(tail / NUM_DRAWS))


def test_standard_error_of_questions_and_seeds_by_hand():
    # Seed means of d are 1 and 0, each question's mean 1/2 and nothing is left: questions add no
    # spread. Variance of the seeds: ((1/2)^2 + (1/2)^2) / 1 = 1/2, of their mean 1/4, so 1/2 is the
    # standard error, widened by t_{0.975, 1} / z_{0.975} = 12.7062 / 1.959964.
    correct, baseline = answers("1111", "0000"), answers("0000", "0000")
    found = paired_bootstrap(correct, baseline, seed=0)
    assert found.standard_error == pytest.approx(0.5 * 12.7062 / 1.959964, rel=0.02)


def test_seeds_that_differ_no_more_than_chance_add_nothing():
    correct, baseline = answers("1100", "0011"), answers("0000", "0000")
    assert paired_bootstrap(correct, baseline, seed=0).standard_error == 0


def test_seed_luck_widens_the_interval():
    generator = np.random.default_rng(4)
    calm = paired_bootstrap(*simulated(generator, 0, seed_sd=0.0), seed=0)
    wild = paired_bootstrap(*simulated(generator, 0, seed_sd=0.1), seed=0)
    assert wild.standard_error > 2 * calm.standard_error


@pytest.mark.parametrize("num_seeds", [1, 3, 5])
def test_the_interval_covers_the_true_difference_at_about_the_nominal_rate(num_seeds):
    # With one seed nothing can be known of the luck of seeds, so there it has none.
    generator = np.random.default_rng(7)
    seed_sd = 0.0 if num_seeds == 1 else 0.01
    covered = 0
    for trial in range(400):
        pair = simulated(generator, 0.04, num_seeds=num_seeds, seed_sd=seed_sd)
        found = paired_bootstrap(*pair, seed=trial, num_draws=400)
        covered += found.low <= 0.04 <= found.high
    # 0.95 is the aim; 400 trials have a standard error of 0.011, 400 draws cut the tails a little.
    assert 0.92 <= covered / 400 <= 0.985


def test_a_difference_as_large_as_the_smallest_effect_is_found_four_times_in_five():
    # As many questions as make the smallest effect of five seeds about 3 points; checked below.
    generator = np.random.default_rng(8)
    found = []
    for trial in range(300):
        pair = simulated(generator, 0.03, num_questions=1100, seed_sd=0.005)
        found.append(paired_bootstrap(*pair, seed=trial, num_draws=400))
    effects = [smallest_effect(one.standard_error, 1100, 1) for one in found]
    assert np.mean(effects) == pytest.approx(0.03, abs=0.003)
    power = np.mean([one.p_value < 0.05 and one.value > 0 for one in found])
    assert 0.72 <= power <= 0.9


def test_methods_without_a_difference_are_seldom_called_different():
    generator = np.random.default_rng(9)
    found = [
        paired_bootstrap(*simulated(generator, 0), seed=at, num_draws=400) for at in range(300)
    ]
    assert np.mean([one.p_value < 0.05 for one in found]) <= 0.08


def test_smallest_effect_by_hand():
    # z_{0.975} + z_{0.8} = 1.959964 + 0.841621; ten comparisons: z_{0.9975} = 2.807034.
    assert smallest_effect(0.01, 1000, 1) == pytest.approx(0.02801585, abs=1e-7)
    assert smallest_effect(0.01, 1000, 10) == pytest.approx(0.03648655, abs=1e-7)


def test_equal_answers_do_not_make_the_smallest_effect_0():
    # sqrt(3) / 100 = 0.01732051: with no discordant answer of 100, 3 could be, by the rule of three
    assert smallest_effect(0.0, 100, 1) == pytest.approx(2.801585 * 0.01732051, abs=1e-7)
    assert smallest_effect(0.0, 100, 1) == pytest.approx(10 * smallest_effect(0.0, 1000, 1))
    assert smallest_effect(0.01, 100, 1) == smallest_effect(0.0, 100, 1)


@pytest.mark.parametrize("num_questions", [20, 200, 2000])
def test_equal_answers_say_what_a_test_would_see(num_questions):
    # the exact test of answers that differ in one direction finds this effect about four times in five
    effect = smallest_effect(0.0, num_questions, 1)
    changed = np.random.default_rng(0).binomial(num_questions, effect, 4000)
    found = [stats.binomtest(int(n), int(n)).pvalue < 0.05 if n else False for n in changed]
    assert 0.3 < np.mean(found) < 0.95


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.04, kept from falling.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.7, 0.6]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_holm_rejects_what_its_steps_reject(p_values):
    adjusted = holm(p_values)
    remaining = sorted(range(len(p_values)), key=lambda at: p_values[at])
    while remaining and p_values[remaining[0]] * len(remaining) <= 0.05:
        assert adjusted[remaining.pop(0)] <= 0.05
    assert all(adjusted[at] > 0.05 for at in remaining)


@pytest.mark.parametrize("shape", [(2, 5), (3, 4), (15,), (0, 0)])
@pytest.mark.parametrize("test", [mcnemar, lambda a, b: paired_bootstrap(a, b, 0)])
def test_answers_that_make_no_pairs_raise(shape, test):
    baseline = np.zeros((3, 5) if shape != (0, 0) else shape, dtype=bool)
    with pytest.raises(ValueError, match="make no pairs"):
        test(np.zeros(shape, dtype=bool), baseline)


def test_compare_paired_takes_lists_and_one_seed_without_its_axis():
    method, baseline = [1, 1, 1, 0, 1, 0], [0, 1, 0, 0, 1, 1]
    told = compare_paired(method, baseline, seed=3)
    assert told == paired_bootstrap(answers("111010"), answers("010011"), 3)
    assert told == compare_paired(np.array([method], bool), np.array([baseline], bool), seed=3)
    assert told.value == pytest.approx(1 / 6)


def test_compare_paired_pairs_seeds_and_questions():
    method, baseline = [[True, True, False], [True, False, True]], [[True, False, False]] * 2
    assert compare_paired(method, baseline).value == pytest.approx(1 / 3)
    assert compare_paired(method, method).p_value == 1


@pytest.mark.parametrize(
    ("method", "baseline", "told"),
    [
        ([1, 0], [1, 0, 1], "make no pairs"),
        ([], [], "make no pairs"),
        ([0.5, 1], [0, 1], "true or false"),
        ([1, float("nan")], [0, 1], "true or false"),
    ],
)
def test_compare_paired_refuses_what_is_no_pair_of_answers(method, baseline, told):
    with pytest.raises(ValueError, match=told):
        compare_paired(method, baseline)
