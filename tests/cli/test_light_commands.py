"""What needs neither torch nor Ray loads neither, and is there at once."""

import json
import os
import subprocess
import sys
import time

import pytest

import kpod_ray
from tests.conftest import REPOSITORY
from tests.pipeline.written_runs import run_folder, written_run

SMOKE = str(REPOSITORY / "configs" / "smoke.yaml")
HEAVY = ("torch", "ray", "transformers", "vllm", "wandb", "sklearn", "pandas", "datasets")
RUN_EACH = f"""
import contextlib, io, json, sys
from kpod_ray.cli.main import main
for arguments in json.loads(sys.argv[1]):
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code
    print(json.dumps([code or 0, [name for name in {HEAVY} if name in sys.modules]]))
"""


def python(*arguments):
    """Run a fresh interpreter here; return what it prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.fixture
def commands(tmp_path):
    """Command lines, and the exit code of each."""
    folder = str(run_folder(written_run(tmp_path)))
    out, config = str(tmp_path / "out.jsonl"), f"{folder}/config.yaml"
    storage = f"storage={tmp_path / 'other'}"
    wrong = "student.lerning_rate=1"
    sums = tmp_path / "sums.csv"
    sums.write_text("question,answer\n1 + 1?,2\n2 + 2?,4\n")
    return [
        (["init", str(sums), "--out", str(tmp_path / "sums.yaml")], 0),
        (["init", str(sums), "--out", config], 2),
        (["--version"], 0),
        (["-h"], 0),
        (["run", "--help"], 0),
        *(
            ([name, "nothere.yaml"], 2)
            for name in ("run", "compare", "sweep", "dashboard", "doctor")
        ),
        *(([name, SMOKE, wrong], 2) for name in ("run", "compare", "sweep", "dashboard", "doctor")),
        *(([name, SMOKE, storage, "student.model=/no"], 2) for name in ("run", "compare", "sweep")),
        (["run", SMOKE, storage, "--until", "trian"], 2),
        (["run", "nothere.yaml", "--dry-run"], 2),
        (["run", SMOKE, wrong, "--dry-run"], 2),
        (["chat", "nothere", "--question", "?"], 2),
        (["chat", SMOKE, storage, "--question", "?"], 2),
        (["chat", folder, "--question", "?"], 2),  # it has no student yet
        (["show", "nothere"], 2),
        (["show", SMOKE, wrong], 2),
        (["show", SMOKE, storage], 0),
        (["show", SMOKE, storage, "rationales"], 2),
        *((["show", folder, *table], 0) for table in ([], ["questions"], ["rationales"])),
        (["show", config], 0),
        (["show", folder, "schedule"], 2),
        (["export", "nothere", out], 2),
        (["export", SMOKE, out, storage], 2),
        (["export", folder, out], 0),
        (["export", config, out, "--format", "messages"], 0),
        (["doctor", folder], 0),
        (["doctor", str(tmp_path)], 2),
        (["sync", "nothere"], 2),
        (["sync", folder], 2),
        (["sync", SMOKE, storage], 2),
    ]


def test_commands_that_only_read_load_no_torch_and_no_ray(commands):
    printed = python("-c", RUN_EACH, json.dumps([arguments for arguments, _ in commands]))
    results = [json.loads(line) for line in printed.splitlines()]
    told = {
        " ".join(arguments): result
        for (arguments, _), result in zip(commands, results, strict=True)
    }
    assert told == {" ".join(arguments): [code, []] for arguments, code in commands}


def test_the_package_run_as_a_module_is_the_command():
    assert python("-m", "kpod_ray", "--version").startswith("kpod_ray 0.")
    for flag in ("-h", "--help"):
        text = python("-m", "kpod_ray", flag)
        assert "Usage: kpod [OPTIONS] COMMAND" in text
        assert all(f" {name} " in text for name in ("run", "compare", "sweep", "show", "doctor"))


def test_the_package_is_imported_at_once():
    """Best of some, beside an interpreter that imports nothing: other processes share the machine."""

    def seconds(program):
        times = []
        for _ in range(5):
            started = time.perf_counter()
            python("-c", program)
            times.append(time.perf_counter() - started)
        return min(times)

    assert seconds("import kpod_ray") - seconds("pass") < 0.3


def test_importing_the_package_loads_nothing():
    program = "import sys, kpod_ray; dir(kpod_ray); print(*sys.modules)"
    loaded = set(python("-c", program).split())
    assert not loaded & {*HEAVY, "numpy", "pydantic", "pyarrow", "scipy"}
    assert {name for name in loaded if name.startswith("kpod_ray")} == {"kpod_ray"}
    assert set(kpod_ray.__all__) <= set(dir(kpod_ray))
