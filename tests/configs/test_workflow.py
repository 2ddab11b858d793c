"""The public CI runs what ``.ci/run`` runs, on the Pythons that the package is for."""

import re
import tomllib

import yaml

from tests.conftest import REPOSITORY

WORKFLOW = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())
JOBS = WORKFLOW["jobs"]
TRIGGERS = WORKFLOW[True]  # YAML 1.1 reads the key ``on`` as a truth value


def commands(job):
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


def test_the_tests_of_ci_are_those_of_the_workflow():
    (command,) = commands("test")
    assert command == "make test PYTHON=python"
    ci = (REPOSITORY / ".ci" / "run").read_text().splitlines()
    assert [line for line in ci if line.startswith("make")] == ["make test && exit"]
    assert set(TRIGGERS) == {"push", "pull_request"}
    assert "if" not in JOBS["test"]


def test_a_pull_request_gets_the_fast_tests():
    assert commands("fast") == ["make test-fast PYTHON=python"]
    assert JOBS["fast"]["if"] == "github.event_name == 'pull_request'"


def test_the_targets_are_in_the_makefile():
    makefile = (REPOSITORY / "Makefile").read_text()
    for job in JOBS:
        (target,) = re.findall(r"^make (\S+)", commands(job)[0])
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_pythons_are_those_that_the_package_names():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    named = [c.rpartition(" ")[2] for c in project["classifiers"] if ":: Python :: 3." in c]
    assert JOBS["test"]["strategy"]["matrix"]["python-version"] == named


def test_a_failure_leaves_the_logs_of_ray():
    (kept,) = [step for step in JOBS["test"]["steps"] if "upload-artifact" in step.get("uses", "")]
    assert kept["if"] == "failure()"
    assert kept["with"]["path"] == "/tmp/ray*/**/session_*/logs"


def test_pip_keeps_what_the_lock_file_names():
    for job in JOBS.values():
        (python,) = [s["with"] for s in job["steps"] if "setup-python" in s.get("uses", "")]
        assert python["cache"] == "pip"
        assert (REPOSITORY / python["cache-dependency-path"]).is_file()
