"""Order and split: every example in its turn, on some worker, once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.data.sampler import (
    batches_by_tokens,
    global_batches,
    micro_batches,
    num_stage_train_steps,
    worker_share,
)


def all_batches(num_examples, size, *, seed, stage):
    """The batches of a stage in which every example takes part."""
    num_train_steps = num_stage_train_steps(num_examples, size)
    return global_batches(
        range(num_examples), size, num_train_steps=num_train_steps, seed=seed, stage=stage
    )


@given(
    num_examples=st.integers(1, 60), size=st.integers(1, 20), num_workers=st.sampled_from([1, 2, 8])
)
@settings(max_examples=100, deadline=None)
def test_the_workers_parts_of_a_stage_are_complete_and_disjoint(num_examples, size, num_workers):
    visited = []
    for batch in all_batches(num_examples, size, seed=3, stage=1):
        shares = [worker_share(batch, rank, num_workers) for rank in range(num_workers)]
        assert sorted(i for share in shares for i in share) == sorted(batch)
        lengths = [len(share) for share in shares]
        assert max(lengths) - min(lengths) <= 1
        visited += batch
    assert sorted(visited) == list(range(num_examples))


@given(num_examples=st.integers(1, 60), size=st.integers(1, 20))
@settings(max_examples=50, deadline=None)
def test_only_the_last_batch_of_a_stage_may_be_short(num_examples, size):
    batches = all_batches(num_examples, size, seed=0, stage=2)
    assert all(len(batch) == size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= size


def test_order_is_a_function_of_seed_and_stage():
    orders = {
        (seed, stage): str(all_batches(40, 8, seed=seed, stage=stage))
        for seed in range(3)
        for stage in range(3)
    }
    assert len(set(orders.values())) == 9
    assert orders[1, 2] == str(all_batches(40, 8, seed=1, stage=2))


def test_order_does_not_depend_on_the_batch_size():
    (wide,) = all_batches(40, 40, seed=5, stage=1)
    assert [i for batch in all_batches(40, 7, seed=5, stage=1) for i in batch] == wide


@given(num_examples=st.integers(1, 60), size=st.integers(1, 20), stage=st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_all_examples_come_in_one_permutation(num_examples, size, stage):
    order = np.random.default_rng([3, stage]).permutation(num_examples).tolist()
    batches = all_batches(num_examples, size, seed=3, stage=stage)
    assert [i for batch in batches for i in batch] == order
    assert len(batches) == -(-num_examples // size)


@given(
    indices=st.sets(st.integers(0, 60), min_size=1),
    size=st.integers(1, 20),
    num_train_steps=st.integers(1, 12),
)
@settings(max_examples=100, deadline=None)
def test_fewer_examples_come_again_until_the_train_steps_are_done(indices, size, num_train_steps):
    batches = global_batches(
        sorted(indices), size, num_train_steps=num_train_steps, seed=0, stage=1
    )
    assert len(batches) == num_train_steps
    assert all(len(batch) == size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= size
    visits = [i for batch in batches for i in batch]
    for start in range(0, len(visits), len(indices)):  # each pass is a permutation
        one_pass = visits[start : start + len(indices)]
        assert len(set(one_pass)) == len(one_pass)
        assert set(one_pass) <= indices


def test_each_pass_has_its_own_order():
    visits = [
        i
        for batch in global_batches(range(20), 4, num_train_steps=10, seed=0, stage=1)
        for i in batch
    ]
    assert visits[:20] != visits[20:]
    assert sorted(visits[:20]) == sorted(visits[20:]) == list(range(20))


def test_a_stage_without_examples_is_refused():
    with pytest.raises(ValueError, match="no example takes part in stage 7"):
        global_batches([], 4, num_train_steps=1, seed=0, stage=7)


@pytest.mark.parametrize(("num_examples", "expected"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_train_steps_of_a_stage(num_examples, expected):
    assert num_stage_train_steps(num_examples, 4) == expected


@given(st.lists(st.integers(1, 20), max_size=30), st.integers(1, 60))
def test_batches_by_tokens_hold_every_row_once_and_keep_to_the_budget(lengths, budget):
    batches = batches_by_tokens(lengths, budget)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[row] for row in batch)
        assert padded <= budget or len(batch) == 1


def test_batches_by_tokens_by_hand():
    # 2 * 3 and 3 * 3 fit into 10, 4 * 4 would not; 12 alone is more than the budget.
    assert batches_by_tokens([3, 12, 2, 3, 4, 5], 10) == [[2, 0, 3], [4, 5], [1]]
    assert batches_by_tokens([], 10) == []


@given(st.data())
def test_micro_batches_of_all_workers_hold_the_global_batch_once_within_the_budget(data):
    lengths = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=12))
    positions = st.integers(0, len(lengths) - 1)
    indices = data.draw(st.lists(positions, min_size=1, max_size=12))
    budget, num_workers = data.draw(st.integers(1, 80)), data.draw(st.integers(1, 4))
    parts = [micro_batches(indices, lengths, budget, r, num_workers) for r in range(num_workers)]
    busy = parts[: len(indices)]
    assert sorted(i for part in busy for batch in part for i in batch) == sorted(indices)
    for batch in (batch for part in parts for batch in part):
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    sizes = [sum(len(batch) for batch in part) for part in busy]
    assert max(sizes) - min(sizes) <= 1
    for idle in parts[len(indices) :]:
        assert [len(batch) for batch in idle] == [1]


def test_micro_batches_by_hand():
    lengths = [9, 2, 5, 2, 7]
    assert micro_batches([0, 1, 2, 3, 4], lengths, 10, 0, 2) == [[1, 2], [0]]
    assert micro_batches([0, 1, 2, 3, 4], lengths, 10, 1, 2) == [[3], [4]]
