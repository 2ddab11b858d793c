"""The arithmetic of a forecast."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpod_ray.pipeline.forecast.estimates import (
    Amount,
    Measured,
    expected_seconds,
    scaled_sum,
    spaced,
    total,
)

COUNTS = st.integers(1, 10**6)
PARTS = st.floats(0, 1e4)


def measured(items, seconds):
    return Measured(items, seconds, "train/0")


def test_an_amount_is_known_as_well_as_its_worst_known_part():
    exact, bound, rough = Amount(3), Amount(4, is_bound=True), Amount(5, is_rough=True)
    assert exact + Amount(1) == Amount(4)
    assert exact * bound == Amount(12, is_bound=True)
    assert bound + rough == Amount(9, is_bound=True, is_rough=True)
    assert rough * 2 == Amount(10, is_rough=True)
    assert exact.as_bound() == Amount(3, is_bound=True)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Amount(1234), "1,234"),
        (Amount(0.4, is_rough=True), "about 0"),
        (Amount(1234.5, is_bound=True), "at most 1,234"),
        (Amount(7, is_bound=True, is_rough=True), "at most about 7"),
    ],
)
def test_the_text_says_how_well_an_amount_is_known(amount, text):
    assert str(amount) == text


@pytest.mark.parametrize(("rows", "batches"), [(0, 0), (1, 1), (8, 1), (9, 2), (7473, 935)])
def test_an_incomplete_batch_counts(rows, batches):
    assert Amount(rows, is_bound=True).in_batches(8) == Amount(batches, is_bound=True)


@given(st.integers(0, 500), st.integers(1, 100))
def test_spaced_indices_are_different_ordered_and_even(num_all, most):
    indices = spaced(num_all, most)
    assert len(indices) == min(num_all, most)
    assert indices == sorted(set(indices))
    assert all(0 <= index < num_all for index in indices)
    gaps = {b - a for a, b in itertools.pairwise(indices)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_a_sum_of_some_rows_is_scaled_to_all():
    assert scaled_sum([2, 4], 2) == Amount(6)
    assert scaled_sum([2, 4], 10) == Amount(30, is_rough=True)
    assert scaled_sum([], 0) == Amount(0)


@given(PARTS, PARTS, COUNTS, COUNTS, COUNTS)
def test_two_sizes_give_the_fixed_part_and_the_rate(fixed, rate, small, factor, items):
    large = small * (factor + 1)
    both = [measured(n, fixed + rate * n) for n in (large, small)]
    seconds = expected_seconds(Amount(items), both)
    if not seconds.is_bound:  # rounding may leave a part of less than nothing
        assert seconds.value == pytest.approx(fixed + rate * items, rel=1e-6, abs=1e-6)
    assert seconds.is_rough


def test_two_sizes_by_hand():
    both = [measured(100, 60.0), measured(400, 150.0)]  # 30 s and 0.3 s an item
    assert expected_seconds(Amount(1000), both) == Amount(330, is_rough=True)
    bound = Amount(1000, is_bound=True)
    assert expected_seconds(bound, both) == Amount(330, is_bound=True, is_rough=True)


@given(PARTS, PARTS, COUNTS, COUNTS)
def test_one_size_gives_a_bound_whatever_the_fixed_part_is(fixed, rate, size, items):
    seconds = expected_seconds(Amount(items), [measured(size, fixed + rate * size)])
    assert seconds.is_bound
    assert seconds.value >= (fixed + rate * items) * (1 - 1e-9)


def test_one_size_by_hand():
    one = [measured(100, 60.0)]
    assert expected_seconds(Amount(50), one).value == 60
    assert expected_seconds(Amount(400), one).value == 240
    near = [measured(100, 60.0), measured(150, 90.0)]  # too near to tell two parts
    assert expected_seconds(Amount(300), near) == Amount(180, is_bound=True, is_rough=True)


@pytest.mark.parametrize("seconds", [(60, 50), (10, 100)])
def test_measurements_that_are_no_line_give_a_bound(seconds):
    """More items in less time, and a fixed part below nothing: the machines weren't the same."""
    both = [measured(100, seconds[0]), measured(400, seconds[1])]
    expected = Amount(2 * seconds[1], is_bound=True, is_rough=True)
    assert expected_seconds(Amount(800), both) == expected


def test_without_a_measurement_nothing_is_expected():
    assert expected_seconds(Amount(5), []) is None
    assert expected_seconds(Amount(5), [measured(0, 4.0)]) is None


def test_a_total_leaves_out_what_is_not_known():
    assert total([Amount(1), None, Amount(2, is_rough=True)]) == Amount(3, is_rough=True)
    assert total([None]) is None
