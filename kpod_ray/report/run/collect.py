"""Read the results of a finished run from its artifacts, and write the report (phase ``report``)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kpod_ray.config import RunConfig
from kpod_ray.config.reading.strict_yaml import write_yaml
from kpod_ray.data.corpus import find_questions
from kpod_ray.evaluation.further import FurtherResult, further_results
from kpod_ray.evaluation.paired import PairedTest, paired_test
from kpod_ray.evaluation.steps import StepStatistics
from kpod_ray.records import (
    Prediction,
    Rationale,
    StageRow,
    StepDifficulty,
    WeightedRationale,
)
from kpod_ray.report.plotting import Histogram
from kpod_ray.report.run.data import (
    MAX_PREDICTIONS,
    Accuracy,
    FurtherSet,
    MissingSteps,
    PredictionPair,
    RunResults,
    TokenWeight,
    TrainPoint,
    WeightingPoint,
)
from kpod_ray.report.run.page import render
from kpod_ray.storage.artifacts import Artifact

NUM_SHOWN = 12
"""Largest number of weighted rationales, and of rejected rationales of each verdict in the results."""
NUM_TOKENS = 10
"""Number of token texts listed with the highest, and with the lowest mean weights."""
MIN_TOKEN_COUNT = 5
"""Occurrences that a token text needs to be listed; if no token text has so many, all are listed."""


def write_report(config: RunConfig, artifacts: Mapping[str, Artifact], path: str) -> None:
    """Write the HTML report of a finished run, as an atomic write; an existing file is replaced.

    Args:
        config: config of the run.
        artifacts: name -> artifact of the run, all finished, see `collect`.
        path: path of the file with its ending ``.html``, relative to the root of the store of
            ``questions``.

    Raises:
        KpodError: An artifact isn't finished or is damaged.
        KeyError: A required artifact isn't given.
        ValueError: As in `collect`.
    """
    results = collect(config, artifacts)
    artifacts["questions"].store.write_text(path, render(results))


def collect(config: RunConfig, artifacts: Mapping[str, Artifact]) -> RunResults:
    """Read everything that the report shows from the artifacts' tables.

    Args:
        config: config of the run.
        artifacts: name -> artifact of the run; all are finished. ``questions``, ``teacher``, ``assess``,
            ``weigh``, ``plan``, ``train``, ``evaluate_before`` and ``evaluate`` are required; of others,
            only the seconds are shown.

    Returns:
        The results with the first `NUM_SHOWN` weighted rationales and rejected rationales of each
        verdict, the first `MAX_PREDICTIONS` predictions of the distilled student, and their questions.
        The histogram has 20 bins over [0, 1]; token weights outside aren't counted.

    Raises:
        KpodError: An artifact isn't finished or is damaged.
        KeyError: A required artifact isn't given.
        ValueError: There is no weighted rationale, or no row in the schedule.
    """
    manifests = {name: artifact.manifest() for name, artifact in artifacts.items()}
    weighted = WeightedRationale.from_table(artifacts["weigh"].read("weighted"))
    difficulties = StepDifficulty.from_table(artifacts["assess"].read("difficulties"))
    rejects = _some_of_each(Rationale.from_table(artifacts["teacher"].read("rejects")))
    pairs = _prediction_pairs(artifacts)
    correct_pairs = tuple(
        (pair.before.is_correct, pair.after.is_correct) for pair in pairs if pair.before is not None
    )
    totals = artifacts["plan"].read_json("totals")
    top, bottom = token_extremes(weighted)
    return RunResults(
        name=config.name,
        accuracies=(
            _accuracy("untouched", manifests["evaluate_before"]),
            _accuracy("distilled", manifests["evaluate"], _test(correct_pairs)),
        ),
        further_sets=tuple(_further_set(result) for result in further_results(artifacts)),
        verdict_counts=manifests["teacher"]["verdicts"],
        rejects=tuple(rejects),
        questions=find_questions(artifacts, _shown_ids(weighted, rejects, pairs)),
        weighted_rationales=tuple(weighted[:NUM_SHOWN]),
        step_difficulties={row.question_id: tuple(row.step_difficulties) for row in difficulties},
        token_weight_histogram=_token_weight_histogram(weighted),
        top_tokens=top,
        bottom_tokens=bottom,
        given_steps_counts=_given_steps_counts(artifacts["plan"]),
        ceilings=tuple(totals["ceilings"]),
        planned=tuple(totals["planned"]),
        train_history=tuple(_points(TrainPoint, artifacts["train"].read_json("history"))),
        weighting_history=tuple(_points(WeightingPoint, artifacts["weigh"].read_json("history"))),
        missing_steps=_missing_steps(manifests["weigh"].get("quality", {})),
        predictions=tuple(pairs[:MAX_PREDICTIONS]),
        correct_pairs=correct_pairs,
        warnings={name: m["warning"] for name, m in manifests.items() if "warning" in m},
        phase_seconds={name: manifest["seconds"] for name, manifest in manifests.items()},
        versions=manifests["evaluate"]["versions"],
        config_yaml=write_yaml(config.model_dump()),
    )


def token_extremes(
    rationales: Iterable[WeightedRationale],
) -> tuple[tuple[TokenWeight, ...], tuple[TokenWeight, ...]]:
    """Return the token texts with the highest mean weights, and those with the lowest.

    A token text is the token's span of the rationale, case and spaces included; the mean is over its
    occurrences in all the rationales.

    Returns:
        Two tuples of at most `NUM_TOKENS` token texts, highest first and lowest first; a text may be in
        both. Texts with fewer than `MIN_TOKEN_COUNT` occurrences are left out, unless all texts are so
        rare.
    """
    sums, counts = defaultdict[str, float](float), Counter[str]()
    for row in rationales:
        spans = zip(row.token_starts, row.token_ends, row.token_weights, strict=True)
        for start, end, weight in spans:
            text = row.text[start:end]
            sums[text] += weight
            counts[text] += 1
    frequent = [text for text, count in counts.items() if count >= MIN_TOKEN_COUNT] or list(counts)
    rows = [TokenWeight(text, sums[text] / counts[text], counts[text]) for text in frequent]
    rows.sort(key=lambda row: (-row.mean_weight, row.text))
    return tuple(rows[:NUM_TOKENS]), tuple(rows[::-1][:NUM_TOKENS])


def _some_of_each(rejects: list[Rationale]) -> list[Rationale]:
    """Return the first `NUM_SHOWN` rationales of each verdict."""
    seen = Counter[str]()
    chosen = []
    for row in rejects:
        seen[row.verdict] += 1
        if seen[row.verdict] <= NUM_SHOWN:
            chosen.append(row)
    return chosen


def _shown_ids(
    weighted: list[WeightedRationale], rejects: list[Rationale], pairs: list[PredictionPair]
) -> set[str]:
    """Return the ids of the questions of the rationales and predictions that are shown."""
    return {
        *(row.question_id for row in weighted[:NUM_SHOWN]),
        *(row.question_id for row in rejects),
        *(pair.question_id for pair in pairs[:MAX_PREDICTIONS]),
    }


def _token_weight_histogram(rationales: list[WeightedRationale]) -> Histogram:
    """Count the token weights in 20 bins over [0, 1]; weights outside aren't counted."""
    weights = np.concatenate([np.asarray(row.token_weights) for row in rationales])
    counts, edges = np.histogram(weights, bins=20, range=(0, 1))
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))


def _prediction_pairs(artifacts: Mapping[str, Artifact]) -> list[PredictionPair]:
    before = {
        row.question_id: row
        for row in Prediction.from_table(artifacts["evaluate_before"].read("predictions"))
    }
    after = Prediction.from_table(artifacts["evaluate"].read("predictions"))
    return [PredictionPair(row.question_id, before.get(row.question_id), row) for row in after]


def _test(correct_pairs: Sequence[tuple[bool, bool]]) -> PairedTest | None:
    """Return the test of the second against the first model; None without a question of both."""
    return paired_test(*zip(*correct_pairs, strict=True)) if correct_pairs else None


def _further_set(result: FurtherResult) -> FurtherSet:
    before = _accuracy("untouched", result.before)
    after = _accuracy("distilled", result.after, result.test)
    return FurtherSet(result.name, result.num_left_out, before, after)


def _accuracy(label: str, scores: Mapping[str, Any], test: PairedTest | None = None) -> Accuracy:
    """Return the accuracy of a model from ``counts``, ``accuracy`` and ``steps`` of a manifest."""
    counts, share = scores["counts"], scores["accuracy"]
    return Accuracy(
        label=label,
        num_correct=counts["correct"],
        num_questions=counts["questions"],
        low=share["low"],
        high=share["high"],
        against_first=test,
        steps=StepStatistics(**scores["steps"]),
    )


def _given_steps_counts(plan: Artifact) -> tuple[tuple[int, ...], ...]:
    """Return the number of questions by stage and number of given steps."""
    rows = StageRow.from_table(plan.read("schedule"))
    counts = np.zeros((max(r.stage for r in rows) + 1, max(r.num_given_steps for r in rows) + 1))
    for row in rows:
        counts[row.stage, row.num_given_steps] += 1
    return tuple(tuple(int(n) for n in stage) for stage in counts)


def _missing_steps(quality: Mapping[str, float | None]) -> tuple[MissingSteps, ...]:
    """Return the predictor's losses in the quality of learned weights; none for other weights."""
    found = []
    for num_missing in range(len(quality)):
        loss = quality.get(f"missing_{num_missing}_loss")
        gain = quality.get(f"missing_{num_missing}_gain")
        if loss is None or gain is None:
            break
        found.append(MissingSteps(num_missing, loss, gain))
    return tuple(found)


def _points(kind: Any, history: list[dict[str, float]]) -> list[Any]:
    """Convert rows of a history to instances of a dataclass; the rows may have further keys."""
    names = kind.__dataclass_fields__
    return [kind(**{name: row[name] for name in names}) for row in history]
