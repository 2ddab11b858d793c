"""The results of a comparison, as plain frozen data.

A comparison trains several arms (methods), each once for every seed; all arms answer the same test
questions. Names and texts may contain any characters: the page escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kpod_ray.evaluation.statistics import Answers


@dataclass(frozen=True, slots=True)
class StagePoint:
    """The results of one arm with one seed for one stage."""

    stage: int
    """Number of the stage, from 1."""
    rationale_loss: float
    """Mean negative log-likelihood of the rationale tokens in the loss, unweighted, in nats; the mean
    over the stage's train steps."""
    answer_loss: float
    """Mean negative log-likelihood of the answer tokens, in nats; the mean over the stage's train
    steps."""
    loss_tokens: int
    """Tokens in the loss from the first stage to the end of this one."""
    given_steps_mean: float
    """Mean number of given steps, over the questions that the stage trains on."""
    accuracy: float | None = None
    """Validation accuracy after the stage, in [0, 1]; None if not measured."""
    share: float = 0.0
    """Share of the training's train steps from the first stage to the end of this one, in [0, 1]."""


@dataclass(frozen=True, slots=True, eq=False)
class ArmResults:
    """One arm: its settings, its answers, and the cost of its training.

    A deterministic arm, such as the untrained student, has one seed where the other arms have several.
    The costs and curves have an element for each seed, and are empty without training.
    """

    name: str
    description: str
    """What the arm is, in one line."""
    overrides: Mapping[str, Any]
    """Dotted path of a setting that the arm changes -> value."""
    correct: Answers
    """Whether each answer is correct, [num_seeds, num_questions] bool; seeds and questions are in the
    order of all arms."""
    also: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """Name of a further test set -> numbers of correct answers and of questions, for each seed."""
    supervised_tokens: tuple[int, ...] = ()
    """Number of tokens in the loss over the whole training."""
    train_tokens: tuple[int, ...] = ()
    """Number of all tokens that went through the model in training."""
    train_steps: tuple[int, ...] = ()
    train_seconds: tuple[float, ...] = ()
    curves: tuple[tuple[StagePoint, ...], ...] = ()
    """The stages of each seed, in order."""
    keypoint_share: tuple[float, ...] = ()
    """The keypoints' part of the weight of the rationale tokens in the loss, in [0, 1], as a mean over
    the train steps; empty without a rationale in the loss."""
    generated_minus_gold: tuple[float, ...] = ()
    """Mean of the generated minus the gold reasoning steps (`StepStatistics`); empty without gold
    rationales."""
    early_stops: tuple[float, ...] = ()
    """Fraction of answers with fewer steps than the gold rationale; empty without gold rationales."""
    cost_tokens: tuple[int, ...] = ()
    """``train_tokens`` and the tokens of token weighter and assessment, where the arm needs them."""
    cost_seconds: tuple[float, ...] = ()
    """``train_seconds`` and the seconds of token weighter, assessment and plan, where needed."""
    learning_rate: float | None = None
    """Largest learning rate of the training; None without training."""
    tried_rates: tuple[tuple[float, float], ...] = ()
    """Pairs of a learning rate that was tried and its validation accuracy; empty without a choice."""

    def __post_init__(self) -> None:
        """Check the shape and the type of the answers.

        Raises:
            ValueError: The answers aren't a two-dimensional array of booleans, or the array is empty.
        """
        if self.correct.ndim != 2 or self.correct.dtype != np.bool_ or self.correct.size == 0:
            raise ValueError(f"{self.name}: answers must be a table of booleans, and not empty")

    @property
    def num_seeds(self) -> int:
        """Number of seeds of this arm, at least 1: the number of rows of ``correct``."""
        return len(self.correct)


@dataclass(frozen=True, slots=True, eq=False)
class ComparisonResults:
    """Everything that the page about a comparison shows."""

    name: str
    baseline: str
    """Name of the arm with which the other arms are compared."""
    budget: str
    """What is equal for all arms, in words, such as ``train steps``."""
    seeds: tuple[int, ...]
    """Seeds of the trained arms."""
    arms: tuple[ArmResults, ...]
    """All arms, the baseline included, in the order of the report."""
    num_steps_of_question: tuple[int, ...]
    """Number of reasoning steps of each test question's reference rationale, or the number of sentences
    of a question without one; in the order of the columns of `ArmResults.correct`."""
    contrasts: tuple[tuple[str, str], ...] = ()
    """Pairs of an arm and the arm it is compared with, by name; empty: every arm with the baseline."""
    resample: str = "order"
    """What a seed draws anew: ``order``, ``questions`` or ``all``, see `ComparisonConfig.resample`."""
    longer_baseline: ArmResults | None = None
    """The baseline, trained until it cost as many tokens as the most expensive arm; None if it wasn't.
    It is no element of ``arms``."""
    config_yaml: str = ""
    """The resolved config that all arms start from, as YAML."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package -> version."""
    nodes: str = ""
    """Number and labels of the nodes that trained the students, in words; empty if unknown."""

    def __post_init__(self) -> None:
        """Check that the arms can be compared.

        Raises:
            ValueError: Two arms have the same name, the baseline or an arm of a contrast isn't an arm,
                an arm's number of questions isn't that of ``num_steps_of_question``, or its number of
                seeds is neither 1 nor that of ``seeds``.
        """
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"two arms of {self.name} have the same name")
        if self.baseline not in names:
            raise ValueError(f"the baseline {self.baseline} is no arm of {self.name}")
        for name in (name for pair in self.contrasts for name in pair):
            if name not in names:
                raise ValueError(f"{name} of a contrast is no arm of {self.name}")
        for arm in self.arms:
            num_seeds, num_questions = arm.correct.shape
            if num_questions != self.num_questions:
                raise ValueError(f"{arm.name}: {num_questions} of {self.num_questions} questions")
            if num_seeds not in (1, len(self.seeds)):
                raise ValueError(f"{arm.name}: {num_seeds} of {len(self.seeds)} seeds")

    @property
    def num_questions(self) -> int:
        """Number of test questions, at least 1."""
        return len(self.num_steps_of_question)

    @property
    def baseline_arm(self) -> ArmResults:
        """The element of ``arms`` that is named ``baseline``."""
        return self.arm(self.baseline)

    @property
    def tested_pairs(self) -> tuple[tuple[str, str], ...]:
        """``contrasts``, or each arm but the baseline with the baseline, in the order of the arms.

        A contrast of the baseline with an arm is turned round: the arm is compared with the baseline.
        """
        others = (arm.name for arm in self.arms if arm.name != self.baseline)
        pairs = self.contrasts or tuple((name, self.baseline) for name in others)
        return tuple((other, arm) if arm == self.baseline else (arm, other) for arm, other in pairs)

    def arm(self, name: str) -> ArmResults:
        """Return the element of ``arms`` with a name."""
        return next(arm for arm in self.arms if arm.name == name)
