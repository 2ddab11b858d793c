"""Build the `PhaseSummary` of a finished phase from its artifact.

Tables of artifacts are read in batches, and a summary's size doesn't grow with the number of questions.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from kpod_ray.evaluation.further import further_results
from kpod_ray.evaluation.paired import compare_models
from kpod_ray.report.plotting import Histogram
from kpod_ray.storage.artifacts import Artifact, Manifest
from kpod_ray.tracking.summaries import PhaseSummary, kept_samples_fraction
from kpod_ray.tracking.tables import given_steps_rows, prediction_rows, rationale_rows, reject_rows

BINS = 20
"""Bins of a histogram, all of the same width."""
BATCH_ROWS = 4096
"""Rows of an artifact's table read at a time."""
STOPS = ("generated_minus_gold", "early_stops")
"""Fields of `StepStatistics` that are numbers of an evaluation."""
Artifacts = Mapping[str, Artifact]


def phase_summary(name: str, artifacts: Artifacts) -> PhaseSummary:
    """Return the summary of a finished artifact: the numbers of its manifest, and charts of its phase.

    ``numbers`` holds the counts, verdicts, quality, seconds, accuracy and step statistics as
    ``phase/NAME/KEY``, without values that are None. Artifacts without charts of their own get
    ``numbers`` and the address only.

    Args:
        name: name of the artifact, such as ``teacher`` or ``evaluate_before``.
        artifacts: name -> artifact of the run, all of `name_artifacts`; those that the summary is read
            from are finished. While ``evaluate_before`` isn't finished, the gain in accuracy and the
            earlier predictions are left out of the summary of ``evaluate``.

    Raises:
        KeyError: No artifact has the name.
        KpodError: An artifact that the summary is read from isn't finished or is damaged.
    """
    artifact = artifacts[name]
    manifest = artifact.manifest()
    collect = _COLLECTORS.get(name)
    summary = collect(artifacts, manifest) if collect else PhaseSummary()
    address = artifact.store.address(artifact.folder)
    return dataclasses.replace(
        summary,
        numbers={**_numbers(name, manifest), **summary.numbers},
        artifact=(artifact.phase, address),
    )


def _numbers(name: str, manifest: Manifest) -> dict[str, float]:
    """Return the numbers of a manifest as ``phase/NAME/KEY``; see `phase_summary`."""
    values = {**manifest["counts"], **manifest.get("verdicts", {}), **manifest.get("quality", {})}
    values["seconds"] = manifest["seconds"]
    if "accuracy" in manifest:
        values["accuracy"] = manifest["accuracy"]["value"]
    values |= {name: manifest.get("steps", {}).get(name) for name in STOPS}
    return {f"phase/{name}/{key}": value for key, value in values.items() if value is not None}


def _teacher(artifacts: Artifacts, manifest: Manifest) -> PhaseSummary:
    """Summarise the verdicts on the samples; show some samples that weren't kept."""
    verdicts: Mapping[str, int] = manifest["verdicts"]
    total = sum(verdicts.values())
    rows = [
        {"verdict": verdict, "rationales": count, "share": count / total}
        for verdict, count in sorted(verdicts.items(), key=lambda item: -item[1])
    ]
    tables = {"tables/verdicts": rows, "tables/rejects": reject_rows(artifacts)}
    kept = kept_samples_fraction(manifest)
    outcome = {} if kept is None else {"outcome/kept_samples_fraction": kept}
    return PhaseSummary(tables=tables, outcome=outcome)


def _weigh(artifacts: Artifacts, manifest: Manifest) -> PhaseSummary:
    """Summarise the token weights: histogram, mean, and some rationales."""
    weighted = artifacts["weigh"]
    edges = np.linspace(0, 1, BINS + 1)
    counts = np.zeros(BINS, np.int64)
    total = 0.0
    for weights in _values(weighted, "weighted", "token_weights"):
        counts += np.histogram(weights, bins=edges)[0]
        total += float(weights.sum())
    histogram = Histogram(tuple(edges.tolist()), tuple(counts.tolist()))
    return PhaseSummary(
        curves=_curve(histogram, "token_weight/weight", "token_weight/share"),
        histograms={"histograms/token_weights": histogram},
        tables={"tables/rationales": rationale_rows(artifacts)},
        outcome={"outcome/mean_token_weight": total / max(1, int(counts.sum()))},
    )


def _assess(artifacts: Artifacts, manifest: Manifest) -> PhaseSummary:
    """Summarise the step difficulties by a histogram."""
    assess = artifacts["assess"]
    highest = max(
        (float(v.max()) for v in _values(assess, "difficulties", "step_difficulties") if len(v)),
        default=0.0,
    )
    edges = np.linspace(0, max(highest, 1e-6), BINS + 1)  # 1e-6: bins need a width, also for zeros
    counts = np.zeros(BINS, np.int64)
    for values in _values(assess, "difficulties", "step_difficulties"):
        counts += np.histogram(values, bins=edges)[0]
    histogram = Histogram(tuple(edges.tolist()), tuple(counts.tolist()))
    return PhaseSummary(
        curves=_curve(histogram, "step_difficulty/nats", "step_difficulty/share"),
        histograms={"histograms/step_difficulties": histogram},
    )


def _plan(artifacts: Artifacts, manifest: Manifest) -> PhaseSummary:
    """Summarise the schedule: questions, mean given steps, ceiling and planned difficulty by stage."""
    plan = artifacts["plan"]
    totals = plan.read_json("totals")
    rows = given_steps_rows(plan)
    curves = []
    for stage, stage_rows in itertools.groupby(rows, key=lambda row: int(row["stage"])):
        counts = [(row["given_steps"], row["questions"]) for row in stage_rows]
        num_questions = sum(count for _, count in counts)
        given = sum(steps * count for steps, count in counts) / num_questions
        point = {
            "schedule/stage": stage,
            "schedule/questions": num_questions,
            "schedule/given_steps_mean": given,
        }
        for key, name in (("ceilings", "ceiling"), ("planned", "planned")):
            if stage < len(totals[key]):
                point[f"schedule/{name}"] = totals[key][stage]
        curves.append(point)
    return PhaseSummary(curves=curves, tables={"tables/given_steps": rows})


def _train(artifacts: Artifacts, manifest: Manifest) -> PhaseSummary:
    """Summarise the keypoint share of the loss, and the validations at the end of each stage, if any."""
    train = artifacts["train"]
    share = manifest["keypoint_share"]
    outcome = {} if share is None else {"outcome/keypoint_share": share}
    history: list[dict[str, float]] = train.read_json("history")
    stages = [row for row in history if "validation_loss" in row]
    if not stages:
        return PhaseSummary(outcome=outcome)
    measured = [name for name in stages[-1] if name.startswith("validation_")]
    rows = [
        {name: row.get(name) for name in ("stage", "train_step", "loss", *measured)}
        for row in stages
    ]
    outcome |= {f"outcome/{name}": stages[-1][name] for name in measured}
    return PhaseSummary(tables={"tables/stages": rows}, outcome=outcome)


def _evaluate_before(artifacts: Artifacts, manifest: Manifest) -> PhaseSummary:
    """Summarise the accuracy of the untouched student."""
    return PhaseSummary(outcome={"outcome/accuracy_before": manifest["accuracy"]["value"]})


def _evaluate(artifacts: Artifacts, manifest: Manifest) -> PhaseSummary:
    """Summarise the accuracy of the distilled student and its gain with the paired test of the gain.

    Some predictions are shown, and the accuracy by number of gold steps. The interval is that of the
    paired bootstrap, the p-value McNemar's.
    """
    after = manifest["accuracy"]["value"]
    steps = manifest["steps"]
    outcome = {"outcome/accuracy": after}
    outcome |= {f"outcome/{name}": steps[name] for name in STOPS if steps[name] is not None}
    if artifacts["evaluate_before"].is_finished():
        before = artifacts["evaluate_before"].manifest()["accuracy"]["value"]
        outcome |= {"outcome/accuracy_before": before, "outcome/accuracy_gain": after - before}
        test = compare_models(artifacts["evaluate_before"], artifacts["evaluate"])
        if test is not None:
            outcome |= {
                "outcome/accuracy_gain_low": test.difference.low,
                "outcome/accuracy_gain_high": test.difference.high,
                "outcome/accuracy_gain_p": test.discordance.p_value,
            }
    by_steps = [
        {"gold_steps": gold, "questions": questions, "accuracy": correct / questions}
        for gold, questions, correct in steps["by_gold_steps"]
    ]
    tables = {"tables/predictions": prediction_rows(artifacts)}
    if by_steps:
        tables["tables/accuracy_by_steps"] = by_steps
    return PhaseSummary(tables=tables, outcome=outcome)


def _evaluate_also(artifacts: Artifacts, manifest: Manifest) -> PhaseSummary:
    """Summarise the accuracies of both students on each further test set, with paired tests."""
    rows: list[dict[str, Any]] = []
    outcome = dict[str, float]()
    for result in further_results(artifacts):
        accuracy = result.after["accuracy"]
        before = result.before["accuracy"]["value"]
        row = {
            "accuracy": accuracy["value"],
            "accuracy_low": accuracy["low"],
            "accuracy_high": accuracy["high"],
            "accuracy_before": before,
            "accuracy_gain": accuracy["value"] - before,
            "accuracy_gain_p": result.test.discordance.p_value,
        }
        outcome |= {f"outcome/{result.name}/{key}": value for key, value in row.items()}
        head = {"set": result.name, "questions": result.after["counts"]["questions"]}
        rows.append({**head, "left_out": result.num_left_out, **row})
    return PhaseSummary(tables={"tables/further_sets": rows} if rows else {}, outcome=outcome)


_COLLECTORS: dict[str, Callable[[Artifacts, Manifest], PhaseSummary]] = {
    "teacher": _teacher,
    "weigh": _weigh,
    "assess": _assess,
    "plan": _plan,
    "train": _train,
    "evaluate_before": _evaluate_before,
    "evaluate": _evaluate,
    "evaluate_also": _evaluate_also,
}


def _values(artifact: Artifact, table: str, column: str) -> Iterator[npt.NDArray[np.float64]]:
    """Yield, for every batch of rows, the finite numbers in a column of lists, [N] float64."""
    for batch in artifact.batches(table, BATCH_ROWS):
        values: npt.NDArray[np.float64] = (
            pc.list_flatten(batch[column]).to_numpy().astype(np.float64)
        )
        yield values[np.isfinite(values)]


def _curve(histogram: Histogram, x: str, y: str) -> list[dict[str, float]]:
    """Return a histogram as a curve: fraction of the counts over the middle of each bin.

    As a curve, the histograms of several runs can be compared in one W&B chart. ``x`` and ``y`` are the
    metric names of the middles and the fractions.
    """
    total = max(1, sum(histogram.counts))
    middles = [(low + high) / 2 for low, high in itertools.pairwise(histogram.edges)]
    return [
        {x: middle, y: count / total}
        for middle, count in zip(middles, histogram.counts, strict=True)
    ]
