"""Programs that start a Ray of their own, which can't be in the process of the tests."""

import json
import os
import subprocess
import sys


def run_in_own_process(module, folder, **environment):
    """Run a module of this folder; return what it has written into ``found.json``."""
    command = [sys.executable, "-m", f"tests.cluster.{module}", str(folder)]
    environment = os.environ | environment | {"PYTHONPATH": os.getcwd()}
    result = subprocess.run(command, env=environment, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads((folder / "found.json").read_text())
