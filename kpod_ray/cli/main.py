"""The ``kpod`` command: run a config, or a part of it; look at the corpus and at this machine."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kpod_ray import config as settings
from kpod_ray.errors import KpodError

app = typer.Typer(
    help="Keypoint-based progressive chain-of-thought distillation on Ray.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()
ConfigPath = Annotated[Path, typer.Argument(help="YAML file of settings.")]
RunPlace = Annotated[
    str, typer.Argument(help="YAML file of settings, or the folder runs/NAME of a storage.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="dotted.path=value, such as student.learning_rate=3e-5")
]


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    os.environ["KPOD_DEBUG"] = "1" if debug else ""


@app.command()
def run(config: ConfigPath, overrides: Overrides = None) -> None:
    """Run all phases that aren't finished: from questions to a student and a report."""
    _run_until("report", config, overrides)


@app.command()
def compare(config: ConfigPath, overrides: Overrides = None) -> None:
    """Train the arms of a comparison with several seeds each, and test them against a baseline."""
    loaded = settings.load(config, overrides or ())
    from kpod_ray.cli.progress import compare_with_progress  # Ray and torch load only now

    compare_with_progress(loaded, console)


@app.command()
def sweep(config: ConfigPath, overrides: Overrides = None) -> None:
    """Try many settings, stop what does badly, and run the best of them to its end."""
    loaded = settings.load(config, overrides or ())
    from kpod_ray.cli.sweep_progress import sweep_with_progress  # Ray and torch load only now

    sweep_with_progress(loaded, console)


def _add_phase_command(phase: str, text: str) -> None:
    def command(config: ConfigPath, overrides: Overrides = None) -> None:
        """Run up to the phase."""
        _run_until(phase, config, overrides)

    more = "" if phase == "questions" else " Phases before it run first if they aren't finished."
    app.command(phase, help=text + more, short_help=text)(command)


for _phase, _text in {
    "questions": "Read or make the questions.",
    "teacher": "Get a rationale for every training question, and judge it.",
    "weigh": "Weigh the tokens of all rationales, after training the weighter if they are learned.",
    "assess": "Measure the difficulty of every reasoning step.",
    "plan": "Plan which questions get harder at each stage.",
    "train": "Train the student, stage by stage.",
    "evaluate": "Evaluate the untouched and the trained student.",
    "report": "Write the HTML report.",
}.items():
    _add_phase_command(_phase, _text)


@app.command()
def rationales(
    run: RunPlace,
    overrides: Overrides = None,
    verdict: Annotated[str | None, typer.Option(help="Only rationales with this verdict.")] = None,
    num: Annotated[int, typer.Option(min=0, help="Most rationales of each verdict.")] = 5,
    question: Annotated[str | None, typer.Option(help="Only rationales of this question.")] = None,
) -> None:
    """Look at the teacher's rationales: how many there are of each verdict, and some of them."""
    from kpod_ray.cli.show_rationales import Selection, print_rationales
    from kpod_ray.pipeline.lookup import find_run

    selection = Selection(verdict, question, num)
    found = find_run(run, overrides or ())
    for phase in ("teacher", "questions"):
        found.finished(phase)
    print_rationales(found.artifacts, selection, console)


@app.command()
def schedule(run: RunPlace, overrides: Overrides = None) -> None:
    """Look at the schedule: what each stage trains on, also while the run is training."""
    from kpod_ray.cli.show_schedule import collect_stages, print_schedule
    from kpod_ray.pipeline.lookup import find_run

    found = find_run(run, overrides or ())
    for phase in ("plan", "assess"):
        found.finished(phase)
    print_schedule(collect_stages(found.artifacts), console)


@app.command()
def export(
    run: RunPlace,
    out: Annotated[str, typer.Argument(help="File to write, ending in .jsonl.")],
    overrides: Overrides = None,
    format_name: Annotated[
        str, typer.Option("--format", help="kpod, messages, ms-swift, prime-rl or trl.")
    ] = "kpod",
) -> None:
    """Write the rationales with their token weights, for other trainers or for a new run."""
    from kpod_ray.pipeline.export import FORMATS, export_corpus
    from kpod_ray.pipeline.lookup import find_run

    count = export_corpus(find_run(run, overrides or ()), out, format_name)
    console.print(f"{out}: {count:,} rationales", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{format_name}: {FORMATS[format_name]}", markup=False, soft_wrap=True)


@app.command()
def sync(
    run: Annotated[str, typer.Argument(help="YAML file of settings, or a folder.")],
    overrides: Overrides = None,
) -> None:
    """Send a run's W&B files that W&B doesn't have: of offline runs, and after failures."""
    from kpod_ray.tracking.wandb_upload import place_of, send

    console.print(send(place_of(run, overrides or ())), markup=False, soft_wrap=True)


@app.command()
def dashboard(config: ConfigPath, overrides: Overrides = None) -> None:
    """Make a W&B workspace for the runs of a config's project and group."""
    loaded = settings.load(config, overrides or ())
    from kpod_ray.tracking.wandb_workspace import save_dashboard

    console.print(save_dashboard(loaded), markup=False, soft_wrap=True)


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Argument(help="YAML file of settings to check for.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Say what this machine has, and what it lacks for a config."""
    from kpod_ray.cli.doctor import diagnose

    loaded = settings.load(config, overrides or ()) if config else None
    if not diagnose(loaded, console):
        raise typer.Exit(1)


def _run_until(phase: str, path: Path, overrides: list[str] | None) -> None:
    config = settings.load(path, overrides or ())
    from kpod_ray.cli.progress import run_with_progress  # Ray and torch load only now

    run_with_progress(config, phase, console)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a `KpodError` becomes one line and exit code 2."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # Ray here listens on this machine only
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        app(arguments)
    except KpodError as error:
        if os.environ.get("KPOD_DEBUG"):
            raise
        Console(stderr=True).print(f"kpod: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
