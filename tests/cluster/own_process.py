"""Run a test program that needs a Ray of its own in a process of its own."""

import json
import os
import subprocess
import sys


def run_in_own_process(module, folder, **environment):
    """Run a module of this folder; return the content of the ``found.json`` that the module writes.

    Args:
        module: name of the module, such as ``two_nodes``.
        folder: folder for the module's files; its only argument.
        **environment: further environment variables.
    """
    command = [sys.executable, "-m", f"tests.cluster.{module}", str(folder)]
    environment = os.environ | environment | {"PYTHONPATH": os.getcwd()}
    result = subprocess.run(command, env=environment, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads((folder / "found.json").read_text())
