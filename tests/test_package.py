"""The package as others get it: a wheel made from the source archive, without a network."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from kpod_ray.config import load
from kpod_ray.questions.arithmetic import generate_questions

ROOT = Path(__file__).parents[1]
HIDDEN = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "kpod_runs", "site"
)

PROGRAM = """
import dataclasses, importlib.metadata, importlib.resources, json, sys
import kpod_ray
from kpod_ray.config import load
from kpod_ray.questions.loading import load_questions
from kpod_ray.report.html import fill

config = load(sys.argv[1])
questions = load_questions(config.questions, config.seed).questions
found = importlib.metadata.distributions(name="kpod-ray")
templates = importlib.resources.files("kpod_ray.report") / "templates"
told = {
    "file": kpod_ray.__file__,
    "version": importlib.metadata.version("kpod-ray"),
    "distribution": [str(next(found).locate_file(""))],
    "templates": {file.name: file.read_text() for file in templates.iterdir()},
    "script": fill("script.html", {}, {}).strip(),
    "is_typed": (importlib.resources.files("kpod_ray") / "py.typed").is_file(),
    "questions": [dataclasses.asdict(question) for question in questions],
    "loads_ray": "ray" in sys.modules,
}
print(json.dumps(told))
"""


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
    data = (
        "kpod_ray/questions/*.yaml",
        "kpod_ray/report/templates/*.html",
        "kpod_ray/models/builtin/README.md",
        "kpod_ray/models/builtin/*/*",
    )
    expected = of_repository("kpod_ray/**/*.py", *data, "jobs/*.py")
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


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The programs of an empty environment with the wheel, and with this one's dependencies.

    The environment reads packages of this one from a path. No ``.pth`` file of that path is
    followed, so that an editable install of the repository is no part of it.
    """
    (path,) = built.glob("*.whl")
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", str(path)]
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    subprocess.run([*pip, *install], check=True, timeout=120)
    return folder / "bin"


def run_apart(program, *arguments, folder):
    """Run an installed program in a folder, without this environment's paths; return its output."""
    unset = ("PYTHONPATH", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    command = [str(program), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_wheel_has_its_modules_and_data_and_makes_questions_without_ray(
    installed, tmp_path
):
    config = shutil.copy(ROOT / "configs" / "smoke.yaml", tmp_path)
    told = json.loads(run_apart(installed / "python", "-c", PROGRAM, config, folder=tmp_path))
    (packages,) = (installed.parent / "lib").glob("python*/site-packages")
    assert told["file"] == str(packages / "kpod_ray" / "__init__.py")
    assert told["distribution"] == [str(packages)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert told["version"] == project["version"]
    templates = (ROOT / "kpod_ray" / "report" / "templates").glob("*.html")
    assert told["templates"] == {path.name: path.read_text() for path in templates}
    assert told["script"] == told["templates"]["script.html"].strip()
    assert told["is_typed"]
    made = generate_questions(load(config).questions, load(config).seed)
    assert told["questions"] == json.loads(json.dumps([dataclasses.asdict(row) for row in made]))
    assert not told["loads_ray"]


@pytest.mark.parametrize("command", [["kpod"], ["python", "-m", "kpod_ray"]])
def test_a_command_of_the_installed_wheel_starts(installed, tmp_path, command):
    program, *arguments = command
    printed = run_apart(installed / program, *arguments, "--help", folder=tmp_path)
    assert "dashboard" in printed
