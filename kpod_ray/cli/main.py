"""The subcommands of ``kpod``. Torch and Ray load slowly, and are imported after argument checks."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from kpod_ray.cli.messages import shortened
from kpod_ray.cli.show import NUM_SHOWN, check_known, show_table
from kpod_ray.cli.signals import run_interruptibly
from kpod_ray.cli.terminal import Terminal, show_warnings
from kpod_ray.errors import KpodError

if TYPE_CHECKING:
    from kpod_ray.config import RunConfig

app = typer.Typer(
    help="Keypoint-based progressive chain-of-thought distillation on Ray.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Terminal()
ConfigPath = Annotated[Path, typer.Argument(help="YAML file of settings.")]
RunPlace = Annotated[
    str, typer.Argument(help="YAML file of settings, or the folder runs/NAME in a storage.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Changed settings: dotted.path=value, such as student.learning_rate=3e-5."),
]


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        console.write_line(f"kpod_ray {importlib.metadata.version('kpod-ray')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    show_warnings()
    os.environ["KPOD_DEBUG"] = "1" if debug else ""


@app.command()
def run(
    config: ConfigPath,
    overrides: Overrides = None,
    until: Annotated[
        str,
        typer.Option(
            help="Stop after this phase: questions, teacher, weigh, assess, plan, train, evaluate "
            "or report."
        ),
    ] = "report",
    is_dry: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only say what is missing and what each phase will do: where, how much, how long, for "
            "how much money; exit code 1 if something is missing.",
        ),
    ] = False,
) -> None:
    """Run the unfinished phases of a config, from the questions to the report."""
    from kpod_ray.pipeline.checks import check_run
    from kpod_ray.pipeline.naming import PHASES, open_run

    check_known("phase", until, PHASES)
    loaded = _loaded(config, overrides)
    if is_dry:
        _run_dry(loaded, until)
        return
    check_run(loaded, PHASES[: PHASES.index(until) + 1])
    opened = open_run(loaded)
    from kpod_ray.cli.progress import run_with_progress  # loads Ray and torch

    run_with_progress(opened, until, console)


def _run_dry(config: RunConfig, until: str) -> None:
    """Print the forecast of a run; exit code 1 if the run lacks something."""
    from kpod_ray.cli.hub import hub_line

    if line := hub_line(config):
        console.write_line(f"hub: {line}")
    from kpod_ray.cli.dry_run import dry_run  # loads Ray and torch

    if not dry_run(config, until, console):
        raise typer.Exit(1)


@app.command()
def init(
    file: Annotated[
        str, typer.Argument(help="File of questions: .jsonl, .json, .csv, .tsv or .parquet.")
    ],
    out: Annotated[str, typer.Option(help="Config to write; it mustn't exist.")] = "config.yaml",
) -> None:
    """Look at a file of questions, show how it is understood, and write a config with comments."""
    from kpod_ray.cli.init import write_config

    write_config(file, out, console)


@app.command()
def compare(
    config: ConfigPath,
    overrides: Overrides = None,
    outcomes: Annotated[
        list[str] | None,
        typer.Option(
            help="File of outcomes to go on from and to write; made if missing. Can be given several "
            "times: all files are merged into the first."
        ),
    ] = None,
) -> None:
    """Train each arm of a comparison with several seeds, and test each against the baseline."""
    from kpod_ray.pipeline.checks import check_comparison
    from kpod_ray.pipeline.naming import open_run

    loaded = _loaded(config, overrides)
    check_comparison(loaded)
    opened = open_run(loaded)
    from kpod_ray.cli.progress import compare_with_progress  # loads Ray and torch

    compare_with_progress(opened, outcomes or (), console)


@app.command()
def sweep(config: ConfigPath, overrides: Overrides = None) -> None:
    """Train trials with different settings, stop bad trials early, and evaluate the best trial."""
    from kpod_ray.pipeline.checks import check_run
    from kpod_ray.pipeline.naming import open_run
    from kpod_ray.sweep.space import check_sweep

    loaded = _loaded(config, overrides)
    check_run(loaded)
    check_sweep(loaded)
    opened = open_run(loaded)
    from kpod_ray.cli.sweep_progress import sweep_with_progress  # loads Ray and torch

    sweep_with_progress(opened, console)


def _loaded(config: Path, overrides: list[str] | None) -> RunConfig:
    from kpod_ray.config import load

    return load(config, overrides or ())


@app.command()
def show(
    run: RunPlace,
    table: Annotated[
        str | None,
        typer.Argument(help="Table: questions, rationales or schedule; none: state of the run."),
    ] = None,
    overrides: Overrides = None,
    num: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Number of questions shown of each split, or of rationales of each verdict; "
            f"{NUM_SHOWN} by default.",
        ),
    ] = None,
    question: Annotated[
        str | None, typer.Option(help="Show only the question with this id, or its rationales.")
    ] = None,
    verdict: Annotated[
        str | None, typer.Option(help="Show only rationales with this verdict.")
    ] = None,
) -> None:
    """Show the state of a run or one of its tables, also while the run is going on; write nothing."""
    words = [*filter(None, [table]), *(overrides or ())]
    show_table(run, words, {"num": num, "question": question, "verdict": verdict}, console)


@app.command()
def chat(
    run: RunPlace,
    overrides: Overrides = None,
    question: Annotated[
        list[str] | None,
        typer.Option(
            help="Question to answer; can be given several times. Without it, you type questions."
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Temperature of sampling; 0 answers greedily, as phase evaluate.")
    ] = 0.0,
) -> None:
    """Ask the untouched and the distilled student of a run, side by side; Ray isn't used."""
    from kpod_ray.cli.chat import chat as ask_both

    ask_both(run, overrides or (), question or (), temperature, console)


@app.command()
def export(
    run: RunPlace,
    out: Annotated[str, typer.Argument(help="File to write; its name ends in .jsonl.")],
    overrides: Overrides = None,
    format_name: Annotated[
        str,
        typer.Option("--format", help="Row format: kpod, messages, ms-swift, prime-rl or trl."),
    ] = "kpod",
) -> None:
    """Write a run's rationales with their token weights, for other trainers or for a new run."""
    from kpod_ray.pipeline.lookup import find_run

    found = find_run(run, overrides or ())
    from kpod_ray.pipeline.export import FORMATS, export_corpus

    count = export_corpus(found, out, format_name)
    console.write_line(f"{out}: {count:,} rationales")
    console.write_line(f"{format_name}: {FORMATS[format_name]}")


@app.command()
def sync(
    run: Annotated[
        str, typer.Argument(help="YAML file of settings, or a folder that contains W&B files.")
    ],
    overrides: Overrides = None,
) -> None:
    """Upload a run's W&B files that aren't on W&B yet: of an offline run, or after a failed upload."""
    from kpod_ray.tracking.wandb_upload import place_of, send

    console.write_line(send(place_of(run, overrides or ())))


@app.command()
def dashboard(config: ConfigPath, overrides: Overrides = None) -> None:
    """Create a W&B workspace for the runs of a config's project and group."""
    loaded = _loaded(config, overrides)
    from kpod_ray.tracking.wandb_workspace import save_dashboard  # loads wandb

    console.write_line(save_dashboard(loaded))


@app.command()
def doctor(
    run: Annotated[
        str | None,
        typer.Argument(
            help="YAML file of settings, whose needs and files are checked, too; or the folder "
            "runs/NAME in a storage, of which only the files are checked."
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Check this machine, a config's needs and a run's files; exit code 1 if one isn't good."""
    from kpod_ray.cli.examination import examine

    if not examine(run, overrides or (), console):
        raise typer.Exit(1)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, and exit.

    The code is 0, 1 (``doctor`` finds something missing), 2 (an error), 130 (SIGINT) or 143 (SIGTERM).
    A `KpodError` or a wrong argument is printed in one line; with ``--debug``, a `KpodError` is raised.
    None stands for `sys.argv`.
    """
    # Otherwise Ray starts every worker of `uv run kpod` by `uv run`, which resolves the packages again.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        run_interruptibly(
            lambda: sys.exit(app(arguments, prog_name="kpod", standalone_mode=False) or 0),
            sys.argv[1:] if arguments is None else arguments,
        )
    except KpodError as error:
        if os.environ.get("KPOD_DEBUG"):
            raise
        _refuse(str(error))
    except TyperException as error:  # a wrong option or argument
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "kpod"
        message = str(getattr(error, "format_message", error.__str__)())
        _refuse(f"{message.rstrip('.')} (see {command} --help)")


def _refuse(message: str) -> NoReturn:
    """Print a message in one line and exit with code 2."""
    Terminal(stderr=True).error(shortened(message))
    sys.exit(2)
