"""Everything a page about a comparison shows, as plain frozen data.

A comparison is some arms, each trained once a seed, that all answer the same test questions. Names and
texts may hold anything; the page makes them harmless.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kpod_ray.evaluation.statistics import Answers


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
