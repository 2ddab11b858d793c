"""The commands and settings in README.md and docs/ are those that there are."""

import re
from pathlib import Path

import pytest
import typer
import yaml
from typer._click.exceptions import ClickException

from kpod_ray.cli.main import app, main
from kpod_ray.cli.show import TABLE_OPTIONS
from kpod_ray.config import RunConfig, load
from kpod_ray.config.reading.overrides import merged
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.naming import PHASES
from tests.docs.pages import BLOCKS, COMMANDS, ROOT, SENTENCES, Block, Command, folder_of

ELSEWHERE = {
    "kpod run configs/smoke.yaml": "tests/fixtures/finished_run.py::finished",
    "kpod show configs/smoke.yaml schedule": (
        "tests/pipeline/test_run.py::test_the_schedule_of_a_finished_run_is_shown"
    ),
}
"""Commands that other tests run, and where."""
MAKEFILE = (ROOT / "Makefile").read_text()
GROUP = typer.main.get_command(app)


def named(items):
    return {"argvalues": items, "ids": [str(item) for item in items]}


@pytest.fixture
def folder(request, tmp_path, monkeypatch):
    """The folder of the page that a command or a block is of."""
    item = request.getfixturevalue("item")
    monkeypatch.chdir(folder_of(getattr(item, "block", item).page, tmp_path))
    return tmp_path


@pytest.mark.parametrize("item", **named(COMMANDS))
def test_a_command_is_one_that_there_is(item, folder):
    check(item, item.words)


def check(item, words):
    """Check what can be known of a command without running it."""
    program, arguments = words[0].rpartition("/")[2], words[1:]
    if program == "kpod" and item.is_usage:
        check_usage(arguments)
    elif program == "kpod":
        check_kpod(item, arguments)
    elif program == "make":
        for target in arguments:
            assert "=" in target or re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
    elif program == "python":
        check_python(item, *arguments)
    elif program == "pytest":
        assert all((ROOT / path).exists() for path in arguments if path.startswith("tests"))
    elif "--" in arguments:  # such as ray job submit: the command behind it is ours
        check(item, arguments[arguments.index("--") + 1 :])


def check_kpod(item, arguments):
    """Check a whole command line of ours: its options, its config and every override."""
    if "--help" in arguments:
        assert set(arguments) - {"--help"} <= set(GROUP.commands)
        return
    context = GROUP.make_context("kpod", list(arguments))
    name, command, rest = GROUP.resolve_command(context, [*context._protected_args, *context.args])
    given = command.make_context(name, rest, parent=context).params
    config = given.get("config") or given.get("run")
    words = [given.get("table"), *(given.get("overrides") or ())]
    if config and not str(config).startswith(("runs/", "s3://")):
        load_config(item, str(config), [word for word in words if word and "=" in word])
    assert given.get("until", "report") in PHASES
    assert words[0] in (None, *TABLE_OPTIONS) or "=" in words[0]


def load_config(item, path, overrides):
    """Load a config, or the overrides over a shipped one where the file is the reader's own."""
    is_own = "needs" in item.block.marks and not path.startswith("configs/")
    is_made = any(c.words[:2] == ("kpod", "init") and c.words[-1] == path for c in COMMANDS)
    is_open = path in ("CONFIG", "RUN") or ((is_own or is_made) and not Path(path).exists())
    load("configs/laptop.yaml" if is_open else path, overrides)


def check_usage(arguments):
    """Check a command line with places to fill in: its subcommand, its options, its overrides."""
    load(ROOT / "configs" / "laptop.yaml", [w for w in arguments if re.match(r"[a-z_.]+=", w)])
    words = [word.strip("[]") for word in arguments]
    while words[0].startswith("--"):
        assert words.pop(0) in {option for p in GROUP.params for option in p.opts}
    known = {option for p in GROUP.commands[words[0]].params for option in p.opts}
    assert {word for word in words if word.startswith("--")} <= known


def check_python(item, script, *arguments):
    """Check a module and its options, or a job and its config."""
    if script != "-m":
        assert (ROOT / script).is_file()
        load_config(item, arguments[0], arguments[1:])
    elif arguments[0] not in ("build", "http.server", "venv"):
        source = (ROOT / f"{arguments[0].replace('.', '/')}.py").read_text()
        options = [word for word in arguments[1:] if word.startswith("--")]
        assert all(f'"{option}"' in source for option in options)


@pytest.mark.parametrize(
    "line",
    [
        "kpod rum configs/smoke.yaml",
        "kpod run configs/gone.yaml",
        "kpod run configs/smoke.yaml student.lerning_rate=1",
        "kpod run configs/smoke.yaml --until trian",
        "kpod show configs/smoke.yaml rationale",
        "kpod show configs/smoke.yaml student.lerning_rate=1",
        "kpod export configs/smoke.yaml c.jsonl --fromat trl",
        "kpod export RUN FILE [--fromat FORMAT]",
        "kpod run CONFIG --until train student.learning_rate=-1",
        "kpod run CONFIG --untill train",
        "kpod train CONFIG",
        "make nothing",
        "python -m benchmarks.gone",
        "python -m benchmarks.teacher --gone",
        "ray job submit -- python jobs/gone.py configs/smoke.yaml",
    ],
)
def test_a_command_that_there_is_not_is_found(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    item = Command(Block("a.md", 1, line, "shell", {}), tuple(line.split()))
    with pytest.raises((AssertionError, KeyError, OSError, KpodError, ClickException)):
        check(item, item.words)


@pytest.mark.parametrize("item", **named(COMMANDS))
def test_a_command_is_run_or_says_what_it_needs(item):
    line = " ".join(item.words)
    is_marked = "run" in item.block.marks or item.block.marks.get("needs") or item.is_setting
    assert is_marked or item.is_usage or line in ELSEWHERE, (
        f"{item}: put <!-- run --> or <!-- needs: ... --> before its block, or name its test here"
    )


@pytest.mark.parametrize(("line", "place"), ELSEWHERE.items())
def test_what_tests_elsewhere_run_is_in_a_page_and_there(line, place):
    assert any(line == " ".join(command.words) for command in COMMANDS)
    path, _, name = place.partition("::")
    assert f"def {name}(" in (ROOT / path).read_text()


@pytest.mark.parametrize("page", sorted({b.page for b in BLOCKS if "run" in b.marks}))
def test_the_commands_of_a_page_run(page, tmp_path, monkeypatch, ray_cluster, capsys):
    """They run in their order and as they are, but for the storage and the tracking."""
    monkeypatch.chdir(folder_of(page, tmp_path))
    for command in COMMANDS:
        if command.block.page != page or "run" not in command.block.marks:
            continue
        words = list(command.words[1:])
        if words[0] != "init" and any(word.endswith(".yaml") for word in words):
            words += [f"storage={tmp_path / 'store'}", "tracking.mode=disabled"]
        with pytest.raises(SystemExit) as ended:
            main(words)
        printed = capsys.readouterr()
        assert not ended.value.code, f"{command}: {printed}"
        assert printed.out


@pytest.mark.parametrize("item", **named([b for b in BLOCKS if b.kind == "yaml"]))
def test_settings_in_a_page_are_allowed(item, folder):
    if "file" in item.marks:
        load(item.marks["file"])
        return
    base = yaml.safe_load((ROOT / "configs" / "smoke.yaml").read_text())
    RunConfig.model_validate(merged(base, yaml.safe_load(item.text)))


@pytest.mark.parametrize("item", **named(SENTENCES))
def test_a_command_in_a_sentence_is_one_that_there_is(item, folder):
    check(item, item.words)
