import json
import os
import subprocess
import sys

import pytest


def run_on_nodes(module, folder):
    """Run a script that makes a cluster of several nodes."""
    command = [sys.executable, "-m", f"tests.distributed.{module}", str(folder)]
    notices_soon = {
        "RAY_health_check_failure_threshold": "5",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30",  # then it starts again with fewer workers
    }
    environment = os.environ | notices_soon | {"PYTHONPATH": os.getcwd()}
    result = subprocess.run(command, env=environment, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_that_goes_away_takes_no_row_with_it(tmp_path):
    run_on_nodes("three_nodes", tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found.pop("calls_on_the_driver's_node")
    assert found == {"texts": True, "completions": 300, "nodes_used": 3, "alive": 2}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_training_that_loses_a_node_goes_on_with_fewer_workers_the_same_way(tmp_path):
    run_on_nodes("two_nodes", tmp_path)
    num_workers = json.loads((tmp_path / "found.json").read_text())
    assert num_workers[0] == 2
    assert num_workers[-1] == 1  # from a checkpoint that two workers made
    assert num_workers == sorted(num_workers, reverse=True)
