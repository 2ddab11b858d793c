"""Every bad input is refused in one line with exit code 2, before Ray starts and anything is written."""

import collections
import os
import subprocess
import sys

import pytest

from kpod_ray.cli.main import main
from tests.badinputs import arguments, config_files, overrides, places, plans, rows
from tests.conftest import REPOSITORY

CASES = [
    case
    for module in (config_files, overrides, plans, rows, places, arguments)
    for case in module.CASES
]
MAX_CHARACTERS = 300


def filled(text, folder):
    return text.replace("{folder}", str(folder))


def command_line(case, folder):
    """Write the files of a case, and return its arguments."""
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        is_text = isinstance(content, str)
        content = filled(content, folder).encode() if name == "config.yaml" and is_text else content
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [filled(argument, folder) for argument in case.arguments]


def check_line(case, folder, err):
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("kpod: ")
    assert lines[0].isprintable()
    assert len(lines[0].replace(str(folder), "")) <= MAX_CHARACTERS
    for word in case.words:
        assert filled(word, folder) in lines[0]


def written(folder, case):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - set(
        case.files
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_bad_input_is_refused_in_one_line(capsys, tmp_path, case):
    arguments = command_line(case, tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    out, err = capsys.readouterr()
    check_line(case, tmp_path, err)
    assert caught.value.code == 2
    assert not out
    assert not written(tmp_path, case)
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()


EVERY = len(CASES) // 20


@pytest.mark.parametrize("case", CASES[::EVERY], ids=str)
def test_a_bad_input_is_refused_by_a_process(tmp_path, case):
    done = subprocess.run(
        [sys.executable, "-m", "kpod_ray", *command_line(case, tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "RAY_TMPDIR": str(tmp_path / "ray")},
        capture_output=True,
        text=True,
        check=False,
    )
    check_line(case, tmp_path, done.stderr)
    assert done.returncode == 2
    assert not done.stdout
    assert not written(tmp_path, case)


def test_the_table_has_every_command_and_many_kinds():
    assert len(CASES) >= 200
    assert len(CASES[::EVERY]) >= 20
    commands = collections.Counter(case.arguments[0] for case in CASES if case.arguments)
    for command in ("run", "compare", "sweep", "show", "export", "sync", "dashboard", "doctor"):
        assert commands[command] >= 10, command
