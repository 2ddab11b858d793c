"""Run a sweep with progress in the terminal; then print the best trials and where the results are."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping

from rich.progress import Progress, TaskID
from rich.table import Table

from kpod_ray.cli.progress import Screen
from kpod_ray.cli.show_run import difference_line
from kpod_ray.cli.signals import POSITION
from kpod_ray.cli.terminal import Terminal, progress_bar
from kpod_ray.config import RunConfig
from kpod_ray.pipeline.naming import Run
from kpod_ray.report.sweep.data import FAILED, FINISHED, STOPPED, ranked, saved_fraction, value_text
from kpod_ray.report.sweep.page import render_sweep
from kpod_ray.report.sweep.wording import cautions
from kpod_ray.sweep.run import SweepCallbacks, SweepResults, sweep, sweep_page
from kpod_ray.sweep.tuner import Settings
from kpod_ray.tracking import PhaseSummary, tracked
from kpod_ray.tracking.wandb_upload import files_of

NUM_SHOWN = 8
"""Number of the best trials in the printed table."""


def sweep_with_progress(run: Run, console: Terminal) -> None:
    """Run a sweep with progress; write its page and trials to the run's folder, and print the best.

    The files ``sweep.html`` and ``trials.json`` are written at the end, and replace existing ones.
    Metrics of the shared phases and the page are also logged to W&B, as ``tracking`` of the config says;
    each training is a W&B run of its own. Reasons to be careful with the best settings are printed.

    Args:
        run: opened run with the config of the sweep, see `open_run`.
        console: terminal.

    Raises:
        KpodError: `sweep` fails.
        OSError: As in `sweep`, or the files can't be written.
        Exception: As in `sweep`.
    """
    with tracked(run.config, files_of(run.store, run.folder)) as tracker:
        with progress_bar(console) as bar:
            screen = Screen(run, tracker, console, bar)
            trials = _TrialScreen(run.config, console, bar)
            results = sweep(run.config, SweepCallbacks(screen.callbacks(), trials.report))
        shown = sweep_page(results)
        page = render_sweep(shown)
        rows = [dataclasses.asdict(trial) for trial in results.trials]
        run.store.write_text(f"{run.folder}/sweep.html", page)
        run.store.write_text(f"{run.folder}/trials.json", json.dumps(rows, indent=2))
        key = f"sweep/{hashlib.sha256(page.encode()).hexdigest()[:16]}"
        tracker.log_summary(key, lambda: PhaseSummary(pages={"sweep_page": page}))
    screen.print_summary()
    print_trials(results, console)
    for text in cautions(shown):
        console.write_line(text, style="yellow")
    console.write_line(f"best trial: {difference_line(results.best_run.artifacts)}")
    store, folder = run.store, run.store.address(run.folder)
    console.write_line(f"best settings: kpod run {folder}/best.yaml")
    student = store.address(results.best_run.artifacts["train"].folder)
    console.write_line(f"page: {folder}/sweep.html")
    console.write_line(f"best student: {student}/student")


class _TrialScreen:
    """Shows a progress bar for each running trial, and prints a line when a trial is finished."""

    def __init__(self, config: RunConfig, console: Terminal, bar: Progress) -> None:
        self.objective, self.console, self.bar = config.sweep.objective, console, bar
        self.tasks: dict[str, TaskID] = {}
        self.num_trained = 0

    def report(self, name: str, settings: Settings, metrics: Mapping[str, float]) -> None:
        """Show the progress and the objective of a trial.

        Args:
            name: name of the trial's training.
            settings: dotted path -> value of the trial.
            metrics: ``percent`` of the training that is done, and the objective by its name.
        """
        value, percent = metrics[self.objective], metrics["percent"]
        if name not in self.tasks:
            self.tasks[name] = self.bar.add_task(name, total=100)
        text = f"{name} {self.objective} {value:.4f}"
        self.bar.update(self.tasks[name], completed=round(percent), description=text)
        POSITION.phase = "the trials"
        if percent >= 100:
            self.num_trained += 1
            POSITION.done = f"{self.num_trained} trainings"
            self.bar.update(self.tasks[name], visible=False)
            self.console.write_line((text, "bold"), f": {settings_text(settings)}")


def settings_text(settings: Settings) -> str:
    """Return settings as a line, such as ``schedule.growth=0.52 student.learning_rate=3e-05``.

    Floats are rounded to three significant digits.
    """
    return " ".join(f"{path}={value_text(value)}" for path, value in settings.items())


def print_trials(results: SweepResults, console: Terminal) -> None:
    """Print the number of trials in each state, and a table of the `NUM_SHOWN` best finished trials.

    The table has the best trial first, with the trial's id, its last value of the objective
    and its settings. The fraction of the training that early stopping saved is printed, too.
    """
    trials, objective = results.trials, results.config.sweep.objective
    counts = {s: sum(t.state == s for t in trials) for s in (FINISHED, STOPPED, FAILED)}
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    console.write_line(f"{states}; stopping saved {saved_fraction(trials):.0%} of the training")
    table = Table("trial", objective.replace("_", " "), "settings", title="best trials")
    for trial in ranked(trials, objective)[:NUM_SHOWN]:
        table.add_row(trial.trial_id, f"{trial.score:.4f}", settings_text(trial.settings))
    console.print(table)
