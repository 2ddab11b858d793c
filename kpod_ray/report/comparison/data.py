"""Everything a page about a comparison shows, as plain frozen data.

A comparison is some arms, each trained once a seed, that all answer the same test questions. Names and
texts may hold anything; the page makes them harmless.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import yaml

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.config import RunConfig
from kpod_ray.evaluation.statistics import Answers
from kpod_ray.records import Prediction, Question
from kpod_ray.schedule.tables import given_steps
from kpod_ray.storage.artifacts import Artifact


@dataclass(frozen=True, slots=True)
class StagePoint:
    """One arm with one seed at the end of one stage."""

    stage: int
    rationale_loss: float
    """Mean negative log-likelihood of the rationale tokens in the loss, unweighted, in nats."""
    answer_loss: float
    """Mean negative log-likelihood of the answer tokens, in nats."""
    loss_tokens: int
    """Tokens in the loss from the first stage to the end of this one."""
    given_steps_mean: float
    """Mean number of given steps of a question."""
    accuracy: float | None = None
    """Share of correct answers after the stage; None where it was not measured."""


@dataclass(frozen=True, slots=True, eq=False)
class ArmResults:
    """One arm: its settings, its answers, and what it cost.

    A deterministic arm, such as the untrained model, has one seed where the others have several.
    """

    name: str
    description: str
    """One line."""
    overrides: Mapping[str, Any]
    """Dotted paths of the config that this arm changes, and their values."""
    correct: Answers
    """[num_seeds, num_questions], whether each answer is right."""
    supervised_tokens: tuple[int, ...] = ()
    """Tokens in the loss over the whole training, for each seed; empty without training."""
    train_tokens: tuple[int, ...] = ()
    """All tokens that went through the model in training, for each seed."""
    train_steps: tuple[int, ...] = ()
    """Train steps, for each seed."""
    train_seconds: tuple[float, ...] = ()
    """Seconds of training, for each seed."""
    curves: tuple[tuple[StagePoint, ...], ...] = ()
    """For each seed its stages, in order."""

    def __post_init__(self) -> None:
        """Refuse answers that make no table.

        Raises:
            ValueError: They are not a table of booleans, or it is empty.
        """
        if self.correct.ndim != 2 or self.correct.dtype != np.bool_ or self.correct.size == 0:
            raise ValueError(f"{self.name}: answers must be a table of booleans, and not empty")

    @property
    def num_seeds(self) -> int:
        """How many seeds were trained."""
        return len(self.correct)


@dataclass(frozen=True, slots=True, eq=False)
class ComparisonResults:
    """A comparison as its page shows it."""

    name: str
    baseline: str
    """Name of the arm that the others are compared with."""
    budget: str
    """What all arms were given alike, in words."""
    seeds: tuple[int, ...]
    arms: tuple[ArmResults, ...]
    num_steps_of_question: tuple[int, ...]
    """Reasoning steps of each test question."""
    config_yaml: str = ""
    """The resolved config that all arms start from."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package -> version."""
    machine: str = ""
    """What it ran on, in words."""

    def __post_init__(self) -> None:
        """Refuse arms that can't be compared.

        Raises:
            ValueError: Names repeat, the baseline is missing, or an arm has other questions or seeds.
        """
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"two arms of {self.name} have the same name")
        if self.baseline not in names:
            raise ValueError(f"the baseline {self.baseline} is no arm of {self.name}")
        for arm in self.arms:
            num_seeds, num_questions = arm.correct.shape
            if num_questions != self.num_questions:
                raise ValueError(f"{arm.name}: {num_questions} of {self.num_questions} questions")
            if num_seeds not in (1, len(self.seeds)):
                raise ValueError(f"{arm.name}: {num_seeds} of {len(self.seeds)} seeds")

    @property
    def num_questions(self) -> int:
        """How many test questions each arm answered, with each seed."""
        return len(self.num_steps_of_question)

    @property
    def baseline_arm(self) -> ArmResults:
        """The arm that the others are compared with."""
        return next(arm for arm in self.arms if arm.name == self.baseline)


Artifacts = Mapping[str, Artifact]
UNTRAINED = "untrained"


def collect_comparison(
    config: RunConfig, shared: Artifacts, trials: Mapping[str, Sequence[Artifacts]]
) -> ComparisonResults:
    """Return everything the page shows.

    Args:
        config: what all arms start from.
        shared: the artifacts that all arms share.
        trials: of each arm, the artifacts of its seeds in order.
    """
    questions = Question.from_table(shared["questions"].read("questions"))
    predicted = Prediction.from_table(shared["evaluate_before"].read("predictions"))
    tested = [row.question_id for row in predicted]
    by_id = {question.id: question for question in questions}
    arms = [
        ArmResults(UNTRAINED, "the student as it comes", {}, _correct([shared], tested, "_before"))
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
        config_yaml=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
        versions=shared["assess"].manifest()["versions"],
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    )


def _arm(
    name: str, config: RunConfig, seeds: Sequence[Artifacts], tested: Sequence[str]
) -> ArmResults:
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
    )


def _correct(seeds: Sequence[Artifacts], tested: Sequence[str], suffix: str) -> Answers:
    """Return whether each answer is right, [num_seeds, Q], questions in the given order."""
    rows = []
    for artifacts in seeds:
        table = artifacts[f"evaluate{suffix}"].read("predictions")
        by_id = {row.question_id: row.is_correct for row in Prediction.from_table(table)}
        rows.append([by_id[question_id] for question_id in tested])
    return np.array(rows, dtype=np.bool_)


def _num_steps(question: Question, config: RunConfig) -> int:
    """Reasoning steps of the reference rationale; without one, sentences of the question."""
    text = question.reference_rationale or question.question
    return len(split_steps(text, split_newlines=config.steps.split_newlines))


def _curve(trained: Artifact) -> tuple[StagePoint, ...]:
    history = _json(trained, "history")
    decisions = _json(trained, "decisions")
    points, tokens = [], 0
    for stage in sorted({int(row["stage"]) for row in history}):
        rows = [row for row in history if row["stage"] == stage]
        tokens += int(sum(row["loss_tokens"] for row in rows))
        decision = decisions[str(stage)]
        schedule = trained.store.read_table(f"{decision['plan']}/schedule.parquet")
        given = given_steps(schedule, decision["plan_stage"])
        points.append(
            StagePoint(
                stage=stage,
                rationale_loss=float(np.mean([row["rationale_loss"] for row in rows])),
                answer_loss=float(np.mean([row["answer_loss"] for row in rows])),
                loss_tokens=tokens,
                given_steps_mean=float(np.mean(list(given.values()))),
            )
        )
    return tuple(points)


def _json(artifact: Artifact, name: str) -> Any:
    return json.loads(artifact.store.read_text(f"{artifact.folder}/{name}.json"))
