"""The crossed test against numbers worked out by hand, scipy, and simulation without a difference."""

import math

import numpy as np
import pytest
from scipy import stats

from kpod_ray.evaluation.crossed import crossed_test, seeds_for_effect
from kpod_ray.evaluation.statistics import smallest_effect
from kpod_ray.evaluation.variance import mean_squares

# Two seeds, three questions: mean 1/3; seed means 2/3 and 0; question means 1, 0, 0.
# Deviations of the seeds 1/3, -1/3; of the questions 2/3, -1/3, -1/3.
# MS_seeds = 3 (1/9 + 1/9) / 1 = 2/3. MS_questions = 2 (4/9 + 1/9 + 1/9) / 2 = 2/3.
# Rest: 1 - 2/3 - 1 + 1/3 = -1/3; 1 - 2/3 - 0 + 1/3 = 2/3; -1/3, and the same with the other sign below.
# MS_rest = 2 (1/9 + 4/9 + 1/9) / 2 = 2/3.
HAND = np.array([[1.0, 1.0, 0.0], [1.0, -1.0, 0.0]])


def test_mean_squares_by_hand():
    squares = mean_squares(HAND)
    assert (squares.seeds, squares.questions, squares.rest) == pytest.approx((2 / 3,) * 3)


def test_the_test_by_hand():
    # Variance (2/3 + 2/3 - 2/3) / 6 = 1/9. Degrees (2/3)^2 / ((2/3)^2 (1/1 + 1/2 + 1/2)) = 1/2, at
    # least 1. t = (1/3) / (1/3) = 1; with one degree of freedom, p = 1/2 (the Cauchy distribution).
    found = crossed_test(HAND)
    assert (found.value, found.standard_error, found.degrees) == pytest.approx((1 / 3, 1 / 3, 1))
    assert found.p_value == pytest.approx(0.5)
    half = math.tan(math.pi * 0.475) / 3  # the 97.5 % quantile of the Cauchy distribution
    assert (found.low, found.high) == pytest.approx((1 / 3 - half, 1 / 3 + half))


def test_one_question_is_a_t_test_over_the_seeds_and_one_seed_over_the_questions():
    values = np.random.default_rng(0).normal(0.2, 1, 9)
    expected = stats.ttest_1samp(values, 0)
    for differences in (values[:, None], values[None, :]):
        found = crossed_test(differences)
        assert found.p_value == pytest.approx(expected.pvalue)
        assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_equal_answers_differ_by_nothing_and_an_even_difference_is_certain():
    same = crossed_test(np.zeros((3, 4)))
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    assert crossed_test(np.full((3, 4), 0.5)).p_value == 0


def test_swapping_the_methods_changes_the_sign_alone():
    differences = np.random.default_rng(1).integers(-1, 2, (4, 30)).astype(float)
    one, other = crossed_test(differences), crossed_test(-differences)
    assert (other.value, other.low, other.high) == (-one.value, -one.high, -one.low)
    assert other.p_value == one.p_value


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,)])
def test_no_table_is_refused(shape):
    with pytest.raises(ValueError, match="are no table"):
        crossed_test(np.zeros(shape))


def simulated(generator, num_seeds, seed_sd, question_sd, num_questions=200):
    """Return differences of answers of two methods that are equally good over all questions."""
    easiness = 0.2 + 0.6 * generator.random(num_questions)
    of_question = generator.normal(0, question_sd, num_questions)
    luck = generator.normal(0, seed_sd, (2, num_seeds, 1))
    shape = (num_seeds, num_questions)
    method = generator.random(shape) < np.clip(easiness + of_question + luck[0], 0, 1)
    baseline = generator.random(shape) < np.clip(easiness + luck[1], 0, 1)
    return method.astype(float) - baseline


@pytest.mark.parametrize("num_seeds", [5, 12])
@pytest.mark.parametrize("seed_sd", [0.0, 0.04])
@pytest.mark.parametrize("question_sd", [0.0, 0.3])
def test_without_a_difference_it_rejects_at_most_the_level(num_seeds, seed_sd, question_sd):
    generator = np.random.default_rng(num_seeds)
    drawn = [simulated(generator, num_seeds, seed_sd, question_sd) for _ in range(600)]
    p_values = np.array([crossed_test(differences).p_value for differences in drawn])
    # A test of the level 5 % rejects 5 % of 600 with a standard deviation of 0.9 %; of 5/7 %, 0.34 %.
    assert (p_values < 0.05).mean() < 0.05 + 3 * 0.009
    assert (p_values < 0.05 / 7).mean() < 0.05 / 7 + 3 * 0.0034
    if question_sd and not seed_sd:  # the seeds alone leave out the variance of the questions
        alone = np.array([stats.ttest_1samp(one.mean(axis=1), 0).pvalue for one in drawn])
        assert (alone < 0.05).mean() > 0.08


def test_it_finds_what_it_says_it_could_find_in_four_of_five_cases():
    generator = np.random.default_rng(0)
    pilot = [crossed_test(simulated(generator, 8, 0.03, 0.1)) for _ in range(200)]
    effect = np.mean([smallest_effect(one.standard_error, 200, 1, one.degrees) for one in pilot])
    found = [
        crossed_test(simulated(generator, 8, 0.03, 0.1) + effect).p_value < 0.05 for _ in range(400)
    ]
    assert 0.7 < np.mean(found) < 0.9


def test_the_seeds_that_an_effect_needs_are_enough_and_one_less_is_not():
    differences = simulated(np.random.default_rng(3), 6, 0.05, 0.0, num_questions=1200)
    squares = mean_squares(differences)
    needed = seeds_for_effect(squares, 0.03, 3)
    for num_seeds, is_enough in ((needed, True), (needed - 1, False)):
        error = math.sqrt(squares.variance(num_seeds))
        assert (smallest_effect(error, 1200, 3, num_seeds - 1) <= 0.03) == is_enough


def test_with_few_questions_no_number_of_seeds_is_enough():
    differences = simulated(np.random.default_rng(3), 6, 0.0, 0.5, num_questions=40)
    assert seeds_for_effect(mean_squares(differences), 0.03, 1) is None
