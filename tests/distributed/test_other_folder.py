import json
import os
import subprocess
import sys

import pytest

from tests.distributed.other_folder import OPTIONS


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_processes_of_a_cluster_work_in_the_folder_of_the_driver(tmp_path):
    command = [sys.executable, "-m", "tests.distributed.other_folder", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    result = subprocess.run(command, env=environment, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found == dict.fromkeys(OPTIONS, str(tmp_path / "work"))
