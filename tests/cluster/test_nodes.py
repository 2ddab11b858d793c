import pytest

from tests.cluster.own_process import run_in_own_process

NOTICES_SOON = {
    "RAY_health_check_failure_threshold": "5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30",  # then it starts again with fewer workers
}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_that_goes_away_takes_no_row_with_it(tmp_path):
    found = run_in_own_process("three_nodes", tmp_path, **NOTICES_SOON)
    assert found.pop("calls_on_the_driver's_node")
    assert found == {"texts": True, "completions": 300, "nodes_used": 3, "alive": 2}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_training_that_loses_a_node_goes_on_with_fewer_workers_the_same_way(tmp_path):
    num_workers = run_in_own_process("two_nodes", tmp_path, **NOTICES_SOON)
    assert num_workers[0] == 2
    assert num_workers[-1] == 1  # from a checkpoint that two workers made
    assert num_workers == sorted(num_workers, reverse=True)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_training_leaves_a_node_that_is_about_to_be_preempted_without_losing_an_update(tmp_path):
    notices = {"RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5"}
    assert run_in_own_process("drained_node", tmp_path, **notices)["made_twice"] == 0
