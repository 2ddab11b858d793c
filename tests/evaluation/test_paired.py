"""Two models on the same questions: McNemar by hand, and what intervals that overlap don't see."""

import pytest
from scipy import stats

from kpod_ray.evaluation.paired import compare_models, paired_test
from kpod_ray.evaluation.scoring import wilson_interval
from kpod_ray.records import Prediction
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store


def answers(both, only_before, only_after, neither):
    """Return whether each answer is right, before and after."""
    before = [True] * both + [True] * only_before + [False] * only_after + [False] * neither
    after = [True] * both + [False] * only_before + [True] * only_after + [False] * neither
    return before, after


def test_numbers_by_hand():
    test = paired_test(*answers(20, 2, 10, 8))
    assert test.num_questions == 40
    assert test.difference.value == pytest.approx(8 / 40)
    assert (test.discordance.num_better, test.discordance.num_worse) == (10, 2)
    # P(X <= 2) for 12 fair coins: (1 + 12 + 66) / 4096, twice
    assert test.discordance.p_value == pytest.approx(2 * 79 / 4096)
    assert test.verdict == "better"
    assert test.difference.low < 0.2 < test.difference.high


def test_swapping_the_models_swaps_the_verdict():
    before, after = answers(20, 2, 10, 8)
    test = paired_test(after, before)
    assert test.verdict == "worse"
    assert test.difference.value == pytest.approx(-8 / 40)


def test_pairs_tell_apart_what_intervals_do_not():
    before, after = answers(100, 0, 10, 90)
    low = wilson_interval(sum(before), 200)
    high = wilson_interval(sum(after), 200)
    assert low[1] > high[0]  # the intervals overlap
    assert paired_test(before, after).verdict == "better"


@pytest.mark.parametrize("num_better", [0, 1, 5, 6, 7])
def test_six_changes_in_one_direction_are_needed(num_better):
    test = paired_test(*answers(10, 0, num_better, 20))
    assert (test.verdict == "better") is (num_better >= 6)
    expected = stats.binomtest(num_better, num_better).pvalue if num_better else 1.0
    assert test.discordance.p_value == pytest.approx(expected)


def test_equal_answers_are_no_difference_and_no_certainty():
    test = paired_test(*answers(30, 0, 0, 10))
    assert (test.verdict, test.difference.value, test.discordance.p_value) == ("undecided", 0, 1)
    assert test.smallest_effect == pytest.approx(2.801585 * 3**0.5 / 40, rel=1e-6)


def evaluated(store, label, right):
    """Return an artifact with predictions; ``right`` maps question ids to whether they are correct."""
    artifact = Artifact.of(store, "evaluate", 1, {"label": label}, [])
    rows = [Prediction(i, "", "stop", 1, "1", "1", is_right) for i, is_right in right.items()]
    artifact.write("predictions", Prediction.to_table(rows))
    return artifact


def test_answers_are_paired_by_question_in_whatever_order(tmp_path):
    store = Store.open(str(tmp_path))
    before = evaluated(store, "before", {"a": True, "b": False, "c": False, "d": True})
    after = evaluated(store, "after", {"d": False, "c": True, "b": True, "e": True})
    test = compare_models(before, after)
    assert test.num_questions == 3
    assert (test.discordance.num_better, test.discordance.num_worse) == (2, 1)
    assert compare_models(before, evaluated(store, "others", {"x": True})) is None
