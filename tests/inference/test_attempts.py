import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpod_ray.errors import KpodError
from kpod_ray.inference.attempts import FINISHED, MOST_STARTS, AttemptTracker, next_attempt
from kpod_ray.inference.records import Completion
from kpod_ray.storage.store import Store


@pytest.fixture
def store(tmp_path):
    return Store.open(str(tmp_path))


@pytest.fixture
def attempts(store):
    return AttemptTracker(store, "parts", "run", num_engines=1)


def write(store, part, ids):
    table = Completion.to_table(Completion(i, "text", "stop", 1) for i in ids)
    store.write_table(f"parts/{part}", table)


def test_a_block_that_is_begun_again_counts_a_death_for_what_was_under_way(attempts):
    assert attempts.begin(["a", "b", "c"]) == [0, 0, 0]
    attempts.under_way("a", ["a", "b"])
    assert attempts.begin(["a", "b", "c"]) == [1, 1, 0]
    attempts.under_way("a", ["c"])
    attempts.under_way("a", ["b"])
    assert attempts.begin(["a", "b", "c"]) == [1, 2, 0]


def test_rows_that_are_written_are_finished_and_die_no_more(attempts):
    attempts.begin(["a", "b"])
    attempts.under_way("a", ["a", "b"])
    attempts.written("run-1.parquet", ["a"])
    assert attempts.begin(["a", "b"]) == [FINISHED, 1]


def test_rows_that_were_written_but_not_told_of_are_found_in_the_files(store, attempts):
    attempts.begin(["a", "b"])
    attempts.under_way("a", ["a", "b"])
    write(store, "run-1.parquet", ["b"])
    write(store, "other-1.parquet", ["a"])  # of another run: it was read before this one began
    assert attempts.begin(["a", "b"]) == [1, FINISHED]


def test_a_ledger_that_died_itself_knows_the_files(store, attempts):
    attempts.begin(["a", "b"])
    write(store, "run-1.parquet", ["b"])
    again = AttemptTracker(store, "parts", "run", num_engines=1)
    assert again.begin(["a", "b"]) == [0, FINISHED]
    again.under_way("x", ["x"])  # a block begun with the one that died
    again.close(["y"])


def test_a_restarted_tracker_that_knows_a_part_of_a_block_counts_its_death_and_takes_the_rest(
    attempts,
):
    attempts.under_way("a", ["b"])  # the block was begun with the tracker that died
    assert attempts.begin(["a", "b", "c"]) == [0, 1, 0]


def test_a_closed_block_is_forgotten(attempts):
    attempts.begin(["a", "b"])
    attempts.written("run-1.parquet", ["a", "b"])
    attempts.close(["a"])
    assert not attempts.blocks
    assert not attempts.written_ids


def test_engines_that_die_again_and_again_are_given_up_unless_rows_get_written(attempts):
    for _ in range(MOST_STARTS):
        attempts.starts()
    attempts.written("run-1.parquet", ["a"])
    for _ in range(MOST_STARTS):
        attempts.starts()
    with pytest.raises(KpodError, match="died 10 times and wrote no row"):
        attempts.starts()


def test_processes_of_all_starts_are_kept_by_node(attempts):
    attempts.started("n1", {1: 5})
    attempts.started("n1", {2: 6})
    attempts.started("n2", {1: 7})
    assert attempts.seen_processes() == {"n1": {1: 5, 2: 6}, "n2": {1: 7}}


def test_rows_without_a_death_are_tried_together_suspects_in_groups_then_alone_by_hand():
    attempt = next_attempt([0, FINISHED, 1, 2, 0, 4, 5, 1])
    assert attempt.together == [0, 4]
    assert attempt.apart == [[2, 7], [3], [5]]
    assert attempt.failed == [6]


def test_a_group_of_suspects_has_at_most_eight_rows():
    assert [len(group) for group in next_attempt([1] * 17).apart] == [8, 8, 1]


@given(st.lists(st.integers(FINISHED, 7), max_size=40))
def test_every_unfinished_row_is_tried_or_failed_exactly_once(deaths):
    attempt = next_attempt(deaths)
    rows = [*attempt.together, *itertools.chain(*attempt.apart), *attempt.failed]
    assert sorted(rows) == [row for row, num in enumerate(deaths) if num != FINISHED]
