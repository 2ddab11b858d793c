"""The package as others get it: a wheel made from the source archive, without a network."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HIDDEN = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "kpod_runs", "site"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with the source archive and the wheel."""
    source, out = tmp_path_factory.mktemp("source") / "kpod", tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, source, ignore=HIDDEN)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert not done.returncode, done.stderr
    assert "Deprecat" not in done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def of_repository(*patterns):
    return {p.relative_to(ROOT).as_posix() for pattern in patterns for p in ROOT.glob(pattern)}


def test_the_wheel_holds_every_module_template_and_job_and_nothing_else(wheel):
    expected = of_repository("kpod_ray/**/*.py", "kpod_ray/report/templates/*.html", "jobs/*.py")
    expected.add("kpod_ray/py.typed")
    assert {name for name in wheel if ".dist-info/" not in name} == expected


def test_the_metadata_say_what_it_is(wheel):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (name,) = (name for name in wheel if name.endswith("/METADATA"))
    told = message_from_bytes(wheel[name])
    assert (told["Name"], told["Version"]) == (project["name"], project["version"])
    assert told["License-Expression"] == "Apache-2.0"
    assert told["Description-Content-Type"] == "text/markdown"
    assert told.get_payload().startswith("# kpod_ray")
    assert told.get_all("Classifier") == project["classifiers"]
    assert told["Keywords"] == ",".join(project["keywords"])
    assert told.get_all("Project-URL") == [", ".join(pair) for pair in project["urls"].items()]
    assert f"\n## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_source_archive_holds_what_tests_and_pages_are_made_of(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = of_repository("configs/**/*.yaml", "tests/**/*.py", "docs/*.md", "docs/*.svg")
    assert needed | {"Makefile", "LICENSE", "CHANGELOG.md", "zensical.toml"} <= names
    assert not [name for name in names if name.endswith(".pyc")]


def test_the_command_of_an_installed_wheel_starts(built, tmp_path):
    (path,) = built.glob("*.whl")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-compile",
    ]
    subprocess.run([*install, "--target", str(tmp_path), str(path)], check=True, timeout=120)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    script, file = tmp_path / "bin" / "kpod", "import kpod_ray; print(kpod_ray.__file__)"
    for command in ([str(script), "--help"], [sys.executable, "-c", file]):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert "dashboard" in done.stdout or done.stdout.startswith(str(tmp_path))
