"""Tests with the fixture ``ray_cluster`` have the marker ``ray``."""

import os
import subprocess
import sys

from tests.conftest import REPOSITORY

TESTS = """
import pytest

@pytest.fixture
def ray_cluster():
    return "a cluster"

def test_with_the_cluster(ray_cluster):
    assert ray_cluster

def test_without_ray():
    assert True
"""
PLUGIN = ["-p", "tests.fixtures.ray_marker", "-p", "no:randomly", "-p", "no:cacheprovider"]


def outcomes(folder, *options):
    """Run the tests above with the plugin; return pytest's exit code and what it printed."""
    (folder / "test_some.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = ray\n")
    command = [sys.executable, "-m", "pytest", "-rA", *PLUGIN, *options, "test_some.py"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_a_test_with_the_cluster_has_the_marker(tmp_path):
    code, printed = outcomes(tmp_path, "-m", "ray", "--collect-only", "-q")
    assert code == 0, printed
    assert [line for line in printed.splitlines() if "::" in line] == [
        "test_some.py::test_with_the_cluster"
    ]
