"""``kpod show RUN``: print the state of every phase, the results, and where the report is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from kpod_ray.cli.terminal import Terminal
from kpod_ray.pipeline.lookup import FinishedRun
from kpod_ray.storage.artifacts import Artifact, Manifest

FINISHED, BEGUN, MISSING = "finished", "begun", "missing"
"""States of a phase. A phase that is begun, running or not, has written files from which it resumes."""


def print_run(run: FinishedRun, console: Terminal) -> None:
    """Print the state, time and counts of every artifact of a run, its results and its report.

    The warnings of finished phases are printed. The keypoint share of the loss is printed if the
    training is finished, and accuracies are printed if both evaluations are finished; so are those on
    further test sets. The last line is the address of the report if all artifacts are finished and the
    report exists, else the command that makes the report.

    Raises:
        KpodError: A manifest is damaged, or the storage can't be read.
    """
    lines = [f"run {run.config.name}", f"folder {run.store.address(run.folder)}", ""]
    manifests: dict[str, Manifest] = {}
    rows = [("phase", "state", "seconds", "counts")]
    for name, artifact in run.artifacts.items():
        state, seconds, counts = state_of(artifact), "", ""
        if state == FINISHED:
            manifests[name] = artifact.manifest()
            seconds = f"{manifests[name]['seconds']:.1f}"
            counts = count_text(manifests[name])
        rows.append((name, state, seconds, counts))
    for line in [*lines, *_phase_lines(rows)]:
        console.write_line(line)
    for name, manifest in manifests.items():
        if "warning" in manifest:
            console.write_line(f"{name}: {manifest['warning']}", style="yellow")
    share = manifests.get("train", {}).get("keypoint_share")
    if share is not None:
        console.write_line(f"keypoint share of the loss weight of the rationales: {share:.1%}")
    if {"evaluate_before", "evaluate"} <= set(manifests):
        console.print(accuracy_table(manifests))
        console.write_line(difference_line(run.artifacts))
    print_further_sets(run.artifacts, console)
    console.write_line(_next(run))


def count_text(manifest: Manifest) -> str:
    """Return the counts and verdicts in a manifest, such as ``train 12, test 4``, without zeros.

    Counts come first. Underscores in names become spaces. The text is empty if all counts are 0.
    """
    counts = {**manifest["counts"], **manifest.get("verdicts", {})}
    return ", ".join(f"{key.replace('_', ' ')} {n}" for key, n in counts.items() if n)


def accuracy_table(manifests: Mapping[str, Manifest]) -> Table:
    """Return a table of the accuracies of the untouched and of the distilled student.

    Each has a row with the accuracy and its 95 % Wilson interval, in per cent, the number of questions,
    the mean of the generated minus the gold steps, and the share of early stops (`StepStatistics`).
    ``manifests`` maps names to manifests; ``evaluate_before`` and ``evaluate`` must be there.
    """
    heads = ("student", "accuracy", "95 % interval", "questions", "minus gold", "early stops")
    table = Table(*heads, title="accuracy")
    for label, name in (("untouched", "evaluate_before"), ("distilled", "evaluate")):
        share = manifests[name]["accuracy"]
        interval = f"{share['low']:.1%} to {share['high']:.1%}"
        questions = str(manifests[name]["counts"]["questions"])
        table.add_row(
            label, f"{share['value']:.1%}", interval, questions, *_step_cells(manifests[name])
        )
    return table


def _step_cells(manifest: Manifest) -> tuple[str, str]:
    """Return generated minus gold steps, and the share of early stops; dashes if unknown."""
    steps = manifest["steps"]
    if not steps["num_compared"]:
        return "-", "-"
    return f"{steps['generated_minus_gold']:+.2f}", f"{steps['early_stops']:.1%}"


def difference_line(artifacts: Mapping[str, Artifact]) -> str:
    """Return a line that compares the distilled with the untouched student on the same questions.

    ``artifacts`` maps names to artifacts; ``evaluate_before`` and ``evaluate`` are finished.
    """
    from kpod_ray.evaluation.paired import compare_models  # loads scipy
    from kpod_ray.report.paired_words import comparison_in_words

    test = compare_models(artifacts["evaluate_before"], artifacts["evaluate"])
    words = comparison_in_words(test) if test else "no question was answered by both"
    return f"distilled against untouched: {words}"


def print_further_sets(artifacts: Mapping[str, Artifact], console: Terminal) -> None:
    """Print a table of the accuracies on the further test sets, if both students are evaluated on them.

    Each set has a row with its number of questions, the number of those left out because they repeat a
    training question, both accuracies, and the difference of the distilled student with its 95 %
    interval, in percentage points. ``artifacts`` maps names to artifacts.
    """
    if "evaluate_also" not in artifacts:
        return
    from kpod_ray.evaluation.further import further_results  # loads scipy
    from kpod_ray.report.paired_words import difference_in_points

    results = further_results(artifacts)
    if not results:
        return
    heads = ("set", "questions", "left out", "untouched", "distilled", "points (95 % interval)")
    table = Table(*heads, title="further test sets")
    for result in results:
        shares = (scores["accuracy"]["value"] for scores in (result.before, result.after))
        counts = (str(result.after["counts"]["questions"]), str(result.num_left_out))
        texts = (f"{share:.1%}" for share in shares)
        table.add_row(result.name, *counts, *texts, difference_in_points(result.test))
    console.print(table)


def state_of(artifact: Artifact) -> str:
    """Return the state of an artifact: `FINISHED`, `BEGUN` or `MISSING`."""
    if artifact.is_finished():
        return FINISHED
    return BEGUN if artifact.exists() else MISSING


def _phase_lines(rows: Sequence[tuple[str, str, str, str]]) -> list[str]:
    width = max(len(row[0]) for row in rows)
    return [
        f"{name:<{width}}  {state:<8}  {seconds:>8}  {counts}".rstrip()
        for name, state, seconds, counts in rows
    ]


def _next(run: FinishedRun) -> str:
    """Return a line with the report's address, or with the command that makes the report."""
    report = f"{run.folder}/report.html"
    # The report in the folder of an unfinished run has other settings: runs of one name share a folder.
    is_whole = all(artifact.is_finished() for artifact in run.artifacts.values())
    if is_whole and run.store.exists(report):
        return f"report: {run.store.address(report)}"
    return f"report: none yet; run kpod run {run.source}"
