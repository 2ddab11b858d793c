import json
import os
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_that_goes_away_takes_no_row_with_it(tmp_path):
    command = [sys.executable, "-m", "tests.distributed.three_nodes", str(tmp_path)]
    notices_soon = {"RAY_health_check_failure_threshold": "5"}
    environment = os.environ | notices_soon | {"PYTHONPATH": os.getcwd()}
    result = subprocess.run(command, env=environment, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found == {"texts": True, "completions": 300, "nodes_used": 3, "alive": 2}
