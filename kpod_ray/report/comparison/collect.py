"""Read the results of a comparison from the artifacts of its finished runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.config import RunConfig
from kpod_ray.config.comparison import UNTRAINED
from kpod_ray.config.reading.strict_yaml import write_yaml
from kpod_ray.evaluation.statistics import Answers
from kpod_ray.records import Prediction, Question
from kpod_ray.report.comparison.data import ArmResults, ComparisonResults, StagePoint
from kpod_ray.schedule.tables import decided_schedule, given_steps
from kpod_ray.storage.artifacts import Artifact

Artifacts = Mapping[str, Artifact]


def collect_comparison(
    config: RunConfig, shared: Artifacts, trials: Mapping[str, Sequence[Artifacts]]
) -> ComparisonResults:
    """Return the results of a comparison, with the untouched student (`UNTRAINED`) as the first arm.

    Args:
        config: config of the comparison, which the arms change.
        shared: name -> artifact that all arms share; ``questions``, ``assess`` and ``evaluate_before``
            are finished.
        trials: name of each arm in ``config.comparison.arms``, in the order of the report -> the
            artifacts (by name) of each seed from 0; ``train`` and ``evaluate`` are finished. An arm has
            one seed, or ``config.comparison.num_seeds`` of them.

    Returns:
        The results. Questions are in the order of the untouched student's predictions, and versions are
        those of ``assess``. Accuracies by stage are validation accuracies, None where none was measured.

    Raises:
        KpodError: A named artifact isn't finished or is damaged.
        KeyError: A named artifact isn't given, an arm isn't in ``config.comparison.arms`` or has no
            prediction for a test question, or a test question isn't in ``questions``.
        ValueError: There is no test question, an arm is named `UNTRAINED`, or the arms can't be
            compared, see `ComparisonResults`.
    """
    questions = Question.from_table(shared["questions"].read("questions"))
    predicted = Prediction.from_table(shared["evaluate_before"].read("predictions"))
    tested = [row.question_id for row in predicted]  # one order of the questions for all arms
    by_id = {question.id: question for question in questions}
    arms = [
        ArmResults(
            UNTRAINED,
            "the student as it comes",
            {},
            _correct([shared], tested, "_before"),
            generated_minus_gold=_steps([shared], "evaluate_before", "generated_minus_gold"),
            early_stops=_steps([shared], "evaluate_before", "early_stops"),
        )
    ]
    arms += [_arm(name, config, seeds, tested) for name, seeds in trials.items()]
    comparison = config.comparison
    return ComparisonResults(
        name=config.name,
        baseline=comparison.baseline,
        budget=comparison.budget.replace("_", " "),
        seeds=tuple(range(comparison.num_seeds)),
        arms=tuple(arms),
        num_steps_of_question=tuple(_num_steps(by_id[i], config) for i in tested),
        config_yaml=write_yaml(config.model_dump(mode="json")),
        versions=shared["assess"].manifest()["versions"],
        nodes=_nodes(artifacts["train"] for seeds in trials.values() for artifacts in seeds),
    )


def _nodes(trained: Iterable[Artifact]) -> str:
    """Return how many nodes trained the students and which labels they have, in words."""
    nodes = {
        node["id"]: node["labels"] for one in trained for node in one.manifest().get("nodes", ())
    }
    labels = sorted(
        {f"{name}={value}" for of_node in nodes.values() for name, value in of_node.items()}
    )
    if not nodes:
        return ""
    text = "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"
    return f"{text} ({', '.join(labels)})" if labels else text


def _arm(
    name: str, config: RunConfig, seeds: Sequence[Artifacts], tested: Sequence[str]
) -> ArmResults:
    """Return the results of one trained arm; ``tested`` holds the ids of the test questions."""
    arm = config.comparison.chosen()[name]
    trained = [artifacts["train"] for artifacts in seeds]
    counts = [artifact.manifest()["counts"] for artifact in trained]
    return ArmResults(
        name=name,
        description=arm.description,
        overrides=arm.overrides,
        correct=_correct(seeds, tested, ""),
        supervised_tokens=tuple(count["loss_tokens"] for count in counts),
        train_tokens=tuple(count["tokens"] for count in counts),
        train_steps=tuple(count["train_steps"] for count in counts),
        train_seconds=tuple(artifact.manifest()["seconds"] for artifact in trained),
        curves=tuple(_curve(artifact) for artifact in trained),
        keypoint_share=_known(artifact.manifest()["keypoint_share"] for artifact in trained),
        generated_minus_gold=_steps(seeds, "evaluate", "generated_minus_gold"),
        early_stops=_steps(seeds, "evaluate", "early_stops"),
    )


def _steps(seeds: Sequence[Artifacts], name: str, field: str) -> tuple[float, ...]:
    """Return a field of `StepStatistics` of an evaluation for each seed, as far as it is known."""
    return _known(artifacts[name].manifest()["steps"][field] for artifacts in seeds)


def _known(values: Iterable[float | None]) -> tuple[float, ...]:
    return tuple(value for value in values if value is not None)


def _correct(seeds: Sequence[Artifacts], tested: Sequence[str], suffix: str) -> Answers:
    """Return whether each answer is correct, [num_seeds, num_questions].

    Args:
        seeds: artifacts by name of each seed.
        tested: ids of the test questions, in the order of the columns.
        suffix: ``_before`` for the untouched student, empty for the trained student.
    """
    rows = []
    for artifacts in seeds:
        table = artifacts[f"evaluate{suffix}"].read("predictions")
        by_id = {row.question_id: row.is_correct for row in Prediction.from_table(table)}
        rows.append([by_id[question_id] for question_id in tested])
    return np.array(rows, dtype=np.bool_)


def _num_steps(question: Question, config: RunConfig) -> int:
    """Return the number of steps of a question's reference rationale, or of the question without one."""
    text = question.reference_rationale or question.question
    return len(split_steps(text, split_newlines=config.steps.split_newlines))


def _curve(trained: Artifact) -> tuple[StagePoint, ...]:
    """Return the means of each stage of a finished training."""
    history = trained.read_json("history")
    decisions = trained.read_json("decisions")
    points = []
    tokens = 0
    for stage in sorted({int(row["stage"]) for row in history}):
        rows = [row for row in history if row["stage"] == stage]
        tokens += int(sum(row["loss_tokens"] for row in rows))
        # the given steps come from the plan that the stage used: a replanned training has several plans
        decision = decisions[str(stage)]
        schedule = decided_schedule(trained.store, decision["plan"])
        given = given_steps(schedule, decision["plan_stage"])
        points.append(
            StagePoint(
                stage=stage,
                rationale_loss=float(np.mean([row["rationale_loss"] for row in rows])),
                answer_loss=float(np.mean([row["answer_loss"] for row in rows])),
                loss_tokens=tokens,
                given_steps_mean=float(np.mean(list(given.values()))),
                accuracy=rows[-1].get("validation_accuracy"),
            )
        )
    return tuple(points)
