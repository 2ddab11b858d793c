"""The marker ``ray`` is on every test that starts Ray, or else the test fails."""

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

STARTS = "import ray; ray.init(address='local', num_cpus=1, include_dashboard=False)"
TESTS = f"""
import subprocess, sys
import pytest

@pytest.fixture
def ray_cluster():
    return "a cluster"

def test_with_the_cluster(ray_cluster):
    assert ray_cluster

def test_in_this_process(request):
    {STARTS}
    request.addfinalizer(ray.shutdown)

def test_in_another_process():
    subprocess.run([sys.executable, "-c", {STARTS!r}], check=True)

def test_without_ray():
    assert True
"""
PLUGIN = ["-p", "tests.fixtures.ray_marker", "-p", "no:randomly", "-p", "no:cacheprovider"]


def outcomes(folder, *options):
    """Run the tests above with the plugin; return pytest's exit code and what it printed."""
    (folder / "test_some.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = ray\n")
    command = [sys.executable, "-m", "pytest", "-rA", *PLUGIN, *options, "test_some.py"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    environment |= {"PYTEST_ADDOPTS": "", "COLUMNS": "200"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


@pytest.mark.ray
def test_a_test_without_the_marker_that_starts_ray_fails(tmp_path):
    code, printed = outcomes(tmp_path)
    assert code == 1, printed
    errors = {line for line in printed.splitlines() if line.startswith("ERROR ")}
    assert errors == {
        f"ERROR test_some.py::{name} - Failed: {name} starts Ray without the marker `ray`"
        for name in ("test_in_this_process", "test_in_another_process")
    }
    assert "4 passed, 2 errors" in printed


def test_a_test_with_the_cluster_has_the_marker(tmp_path):
    code, printed = outcomes(tmp_path, "-m", "ray", "--collect-only", "-q")
    assert code == 0, printed
    assert [line for line in printed.splitlines() if "::" in line] == [
        "test_some.py::test_with_the_cluster"
    ]
