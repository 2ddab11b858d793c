"""Run a config or a comparison with progress in the terminal, on the tracker and on Prometheus.

`Screen` receives the callbacks of a run and passes each to the three places.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence

from rich.progress import Progress
from rich.table import Table

from kpod_ray.cli.show_questions import collect_questions, print_understood
from kpod_ray.cli.show_run import (
    accuracy_table,
    count_text,
    difference_line,
    print_further_sets,
)
from kpod_ray.cli.signals import POSITION, end_with
from kpod_ray.cli.terminal import Terminal, progress_bar
from kpod_ray.comparison.compare import ComparisonCallbacks, compare
from kpod_ray.pipeline.naming import Run
from kpod_ray.pipeline.run import RunCallbacks, run_phases
from kpod_ray.report.comparison.contrast_rows import plain_contrasts
from kpod_ray.report.comparison.markdown import comparison_markdown
from kpod_ray.report.comparison.outcomes import ChosenRate, TrialOutcome
from kpod_ray.report.comparison.page import render_comparison
from kpod_ray.report.comparison.statistics import findings
from kpod_ray.report.comparison.tables import comparison_rows
from kpod_ray.storage.artifacts import Manifest
from kpod_ray.tracking import PhaseSummary, Tracker, tracked
from kpod_ray.tracking.phase_summaries import phase_summary
from kpod_ray.tracking.prometheus import Gauges
from kpod_ray.tracking.wandb_upload import files_of


def run_with_progress(run: Run, until: str, console: Terminal) -> None:
    """Run the phases up to and including ``until`` with progress; print times, accuracies and addresses.

    After the questions alone, their columns, kinds of answers and three questions are printed.

    Metrics and summaries are also logged to W&B, as ``tracking`` of the config says; a failure of W&B is
    only a warning.

    Args:
        run: opened run, see `open_run`.
        until: last phase, one of `PHASES`.
        console: terminal.

    Raises:
        KpodError: `run_phases` fails.
        Exception: As in `run_phases`.
    """
    files = files_of(run.store, run.folder)
    with tracked(run.config, files) as tracker, progress_bar(console) as bar:
        screen = Screen(run, tracker, console, bar)
        run_phases(run, until, screen.callbacks())
        if until == "report":
            key = f"report/{run.artifacts['evaluate'].fingerprint}"
            path = f"{run.folder}/report.html"
            tracker.log_summary(
                key, lambda: PhaseSummary(pages={"report": run.store.read_text(path)})
            )
    if until == "questions":
        found = collect_questions(run.artifacts["questions"], 3, None)
        print_understood(found, screen.manifests["questions"].get("columns", {}), console)
    screen.print_summary()
    if "evaluate" in screen.manifests:
        console.write_line(difference_line(run.artifacts))
        print_further_sets(run.artifacts, console)
    if "train" in screen.manifests:
        student = run.store.address(run.artifacts["train"].folder)
        console.write_line(f"student: {student}/student")
    if until == "report":
        console.write_line(f"report: {run.store.address(run.folder)}/report.html")


def compare_with_progress(run: Run, files: Sequence[str], console: Terminal) -> None:
    """Run a comparison with progress; write its results to the run's folder, and print the tables.

    The files ``comparison.json``, ``contrasts.json``, ``comparison.md`` and ``comparison.html`` are
    written after all trials are finished, and replace existing ones. Metrics of the shared phases and
    the results are also logged to W&B, as ``tracking`` of the config says.

    Args:
        run: opened run with the base settings of the comparison, see `open_run`.
        files: files of outcomes, see `compare`.
        console: terminal.

    Raises:
        KpodError: `compare` fails.
        OSError: As in `compare`, or the files can't be written.
        Exception: As in `compare`.
    """
    with tracked(run.config, files_of(run.store, run.folder)) as tracker:
        with progress_bar(console) as bar:
            screen = Screen(run, tracker, console, bar)
            trials = _TrialTable(console, bar)
            callbacks = ComparisonCallbacks(
                screen.callbacks(), trials.finish, trials.tuned, trials.choose
            )
            results = compare(run.config, callbacks, files)
        rows, page = comparison_rows(results), render_comparison(results)
        contrasts = plain_contrasts(findings(results))
        text = comparison_markdown(results)
        run.store.write_text(f"{run.folder}/comparison.json", json.dumps(rows, indent=2))
        run.store.write_text(f"{run.folder}/contrasts.json", json.dumps(contrasts, indent=2))
        run.store.write_text(f"{run.folder}/comparison.md", text)
        run.store.write_text(f"{run.folder}/comparison.html", page)
        summary = PhaseSummary(
            tables={"comparison": rows, "contrasts": contrasts}, pages={"comparison_page": page}
        )
        tracker.log_summary(
            f"comparison/{hashlib.sha256(page.encode()).hexdigest()[:16]}", lambda: summary
        )
    console.markdown(text)
    console.write_line(f"page: {run.store.address(run.folder)}/comparison.html")


class _TrialTable:
    """Prints each trial of a comparison as it finishes."""

    def __init__(self, console: Terminal, bar: Progress) -> None:
        self.console, self.bar = console, bar
        self.task = bar.add_task("trials", total=None, visible=False)

    def finish(self, trial: TrialOutcome, num_done: int, num_trials: int) -> None:
        """Print the accuracy of a finished trial; ``num_done`` of ``num_trials`` trials are finished."""
        self._show("the trials", num_done, num_trials)
        text = f" seed {trial.seed}: {trial.accuracy:.1%} ({num_done} of {num_trials})"
        self.console.write_line((trial.arm, "bold"), text)

    def tuned(self, num_done: int, num_trainings: int) -> None:
        """Show how many of the trainings that choose learning rates are finished."""
        self._show("the choice of learning rates", num_done, num_trainings)

    def choose(self, rate: ChosenRate) -> None:
        """Print the chosen learning rate of an arm with the validation accuracies of all rates."""
        tried = ", ".join(f"{value:g}: {accuracy:.1%}" for value, accuracy in rate.accuracies)
        text = f" learning rate {rate.learning_rate:g} (validation accuracies: {tried})"
        self.console.write_line((rate.arm, "bold"), text)

    def _show(self, phase: str, num_done: int, num_all: int) -> None:
        POSITION.phase, POSITION.done = phase, f"{num_done} of {num_all}"
        self.bar.update(self.task, completed=num_done, total=num_all, visible=True)


class Screen:
    """Prints the progress of a run, and passes it to the tracker and to the Prometheus gauges.

    Args:
        run: run whose phases report their progress.
        tracker: receives metrics and summaries of finished phases.
        console: terminal.
        bar: progress bar; one task is added for the current phase.
    """

    def __init__(self, run: Run, tracker: Tracker, console: Terminal, bar: Progress) -> None:
        self.run, self.tracker, self.console, self.bar = run, tracker, console, bar
        self.gauges = Gauges(run.config.name)
        self.manifests: dict[str, Manifest] = {}
        """Name -> manifest of the artifacts finished so far."""
        self.made: set[str] = set()
        """Names of the artifacts that this process made; an earlier run finished the others."""
        self.task = bar.add_task("train", total=None, visible=False)

    def callbacks(self) -> RunCallbacks:
        """Return the methods below as the callbacks of a run."""
        return RunCallbacks(
            self.train_step, self.start, self.finish, self.rows, self.wait, end_with
        )

    def start(self, name: str) -> None:
        """Print that this process begins to make artifact ``name``.

        `finish` and `print_summary` show every other artifact as made by an earlier run.
        """
        self.made.add(name)
        POSITION.phase, POSITION.done = f"phase {name}", ""
        self.console.write_line((name, "bold"), " ...")

    def wait(self, name: str, holder: str) -> None:
        """Print that another process, ``holder``, makes artifact ``name`` and is waited for."""
        self.console.write_line(f"phase {name}: waiting for {holder}, which is making it")

    def train_step(self, phase: str, metrics: Mapping[str, float]) -> None:
        """Show stage and losses of a train step in the bar, and log all metrics as ``PHASE/NAME``.

        The metrics go to the tracker and to the Prometheus gauges.

        Args:
            phase: ``weigh`` or ``train``.
            metrics: name -> value; ``train_step`` and ``num_train_steps`` are required, ``stage``,
                ``loss`` and ``adapt_loss`` are shown if present.
        """
        shown = [f"{n} {metrics[n]:.3f}" for n in ("loss", "adapt_loss") if n in metrics]
        if "stage" in metrics:
            stages = self.run.config.schedule.num_stages
            shown.insert(0, f"stage {metrics['stage']:.0f} of {stages}")
        self.bar.update(
            self.task,
            completed=metrics["train_step"],
            total=metrics["num_train_steps"],
            description=f"{phase} {', '.join(shown)}",
            visible=True,
        )
        done, total = metrics["train_step"], metrics["num_train_steps"]
        POSITION.done = f"{done:.0f} of {total:.0f} train steps"
        self.tracker.log({f"{phase}/{name}": value for name, value in metrics.items()})
        self.gauges.train_step(phase, metrics)

    def rows(self, name: str, num_done: int, num_rows: int) -> None:
        """Show in the bar that ``num_done`` of ``num_rows`` texts are generated for artifact ``name``.

        The tracker gets ``num_done`` as ``NAME/texts``; the Prometheus gauges get both numbers.
        """
        self.bar.update(
            self.task, completed=num_done, total=num_rows, description=f"{name} texts", visible=True
        )
        POSITION.done = f"{num_done} of {num_rows} texts"
        self.tracker.log({f"{name}/texts": num_done})
        self.gauges.rows(name, num_done, num_rows)

    def finish(self, name: str, manifest: Manifest) -> None:
        """Print the time, counts and warning of the finished artifact ``name``, and log its summary.

        Without an earlier `start` of the name, ``was finished`` is printed in place of the time. The
        manifest is kept in ``manifests``. In a comparison, the manifest may be that of another run's
        artifact of this name; the summary is logged only if the artifact of this run is finished, too.
        """
        self.manifests[name] = manifest
        POSITION.phase = None
        self.bar.update(self.task, visible=False)
        self.gauges.finish(name, manifest)
        when = f"{manifest['seconds']:.1f} s" if name in self.made else "was finished"
        self.console.write_line((name, "bold"), f" {when}: {count_text(manifest)}")
        if "warning" in manifest:
            self.console.write_line(f"  {manifest['warning']}", style="yellow")
        artifact = self.run.artifacts[name]
        # false for the plan of a comparison's arm: the name is the same, but the plan is the arm's own
        if artifact.is_finished():
            summary = functools.partial(phase_summary, name, self.run.artifacts)
            self.tracker.log_summary(artifact.folder, summary)

    def print_summary(self) -> None:
        """Print a table of the seconds of every artifact finished so far, and a table of accuracies.

        The accuracies are printed if ``evaluate`` is finished; ``evaluate_before`` must then be, too.
        """
        times = Table("phase", "seconds", title="time")
        for name, manifest in self.manifests.items():
            note = "" if name in self.made else " (earlier)"
            times.add_row(name, f"{manifest['seconds']:.1f}{note}")
        self.console.print(times)
        if "evaluate" in self.manifests:
            self.console.print(accuracy_table(self.manifests))
