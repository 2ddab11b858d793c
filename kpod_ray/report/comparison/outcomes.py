"""The outcomes of a comparison: who answered which test question correctly, at which cost; no texts.

Outcomes are all that the page about a comparison needs from finished trainings. A file of outcomes is
small enough to be committed, and a comparison on a machine with an empty storage goes on from it.

The file has JSON Lines. The first line holds the ids of the test questions and their numbers of steps;
each further line holds one trial, or one choice of a learning rate. ``correct`` has a digit for each
question, in the order of the ids: 1 for a correct answer.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from kpod_ray.config.comparison import UNTRAINED
from kpod_ray.errors import KpodError
from kpod_ray.report.comparison.data import StagePoint

_STRICT = ConfigDict(extra="forbid")


@checked_dataclass(frozen=True, config=_STRICT)
class QuestionSet:
    """The test questions of a comparison, in the order of the answers of all trials."""

    ids: tuple[str, ...]
    num_steps: tuple[int, ...]
    """Number of reasoning steps of each question's reference rationale, or the number of sentences of a
    question without one."""
    kind: Literal["questions"] = "questions"

    def __post_init__(self) -> None:
        """Raise a `ValueError` if the two lists differ in length."""
        if len(self.ids) != len(self.num_steps):
            raise ValueError(f"{len(self.ids)} ids, but {len(self.num_steps)} numbers of steps")


@checked_dataclass(frozen=True, config=_STRICT)
class TrialOutcome:
    """The outcome of one arm with one seed. The costs are 0 for the untouched student."""

    arm: str
    seed: int
    settings: str
    """Fingerprint of all settings that determine the outcome, but the seed."""
    correct: Annotated[str, StringConstraints(pattern=r"^[01]+$")]
    """``1`` for each correct and ``0`` for each other answer, in the order of the questions."""
    early_stops: Annotated[str, StringConstraints(pattern=r"^[01-]*$")] = ""
    """``1`` for each answer with fewer reasoning steps than the gold rationale, ``0`` for each other
    one, ``-`` where that is unknown; empty if it is for all."""
    extra_steps: tuple[int | None, ...] = ()
    """Generated minus gold steps of each answer, None where that is unknown; empty if it is for all."""
    also: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Name of a further test set -> numbers of correct answers and of questions."""
    keypoint_share: float | None = None
    """See `ArmResults.keypoint_share`."""
    learning_rate: float | None = None
    """Largest learning rate of the training."""
    supervised_tokens: int = 0
    """Tokens in the loss over the whole training."""
    train_tokens: int = 0
    """All tokens that went through the model in training."""
    train_steps: int = 0
    train_seconds: float = 0.0
    cost_tokens: int = 0
    """``train_tokens`` and those of token weighter and assessment, where the arm needs them."""
    cost_seconds: float = 0.0
    """``train_seconds`` and those of token weighter, assessment and plan, where the arm needs them."""
    curve: tuple[StagePoint, ...] = ()
    """The stages of the training, in order."""
    nodes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Id of a node that trained -> labels of the node."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package -> version; only with the untouched student, for the whole comparison."""
    schema_version: int | None = None
    """`SCHEMA_VERSION` of the version of kpod_ray that recorded the outcome; None if it didn't say."""
    kind: Literal["trial"] = "trial"

    @property
    def accuracy(self) -> float:
        """Fraction of correct answers."""
        return self.correct.count("1") / len(self.correct)


@checked_dataclass(frozen=True, config=_STRICT)
class ChosenRate:
    """The learning rate of an arm, chosen by validation accuracy."""

    arm: str
    settings: str
    """As in `TrialOutcome`."""
    learning_rate: float
    accuracies: tuple[tuple[float, float], ...]
    """Pairs of a learning rate and its validation accuracy at the end of the training, the mean over the
    tuning seeds; in ascending order of the rates."""
    schema_version: int | None = None
    """As in `TrialOutcome`."""
    kind: Literal["rate"] = "rate"


_LINE: TypeAdapter[Any] = TypeAdapter(
    Annotated[QuestionSet | TrialOutcome | ChosenRate, Field(discriminator="kind")]
)


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of any number of arms and seeds, all on the same test questions."""

    questions: QuestionSet | None = None
    """None only if there are no trials."""
    trials: Mapping[tuple[str, int], TrialOutcome] = field(default_factory=dict)
    """Name of the arm and seed -> outcome."""
    rates: Mapping[str, ChosenRate] = field(default_factory=dict)
    """Name of an arm -> its learning rate, if it was chosen."""

    def with_trial(self, trial: TrialOutcome) -> Outcomes:
        """Return a copy with a trial, in place of the trial with its arm and seed, if any."""
        trials = {**self.trials, (trial.arm, trial.seed): trial}
        return dataclasses.replace(self, trials=trials)

    def with_rate(self, rate: ChosenRate) -> Outcomes:
        """Return a copy with the learning rate of an arm."""
        return dataclasses.replace(self, rates={**self.rates, rate.arm: rate})

    def merged(self, other: Outcomes, name: str) -> Outcomes:
        """Return the outcomes of both; ``name`` is the file of ``other``, for messages.

        Two machines may give the untouched student slightly different answers, by rounding; those of
        ``self`` are kept.

        Raises:
            KpodError: The test questions differ, or both have a trial of an arm and a seed, or the
                learning rate of an arm, and the two aren't equal.
        """
        if self.questions and other.questions and self.questions != other.questions:
            raise KpodError(
                f"outcomes {name}: other test questions than those of the outcomes before; merge only "
                "files of one comparison"
            )
        for key, trial in other.trials.items():
            mine = self.trials.get(key, trial)
            is_same = mine.correct == trial.correct or trial.arm == UNTRAINED
            if mine.settings != trial.settings or not is_same:
                raise KpodError(
                    f"outcomes {name}: arm {trial.arm} with seed {trial.seed} has another outcome than "
                    "before; merge only files of one comparison and of different seeds"
                )
        for arm, rate in other.rates.items():
            chosen = self.rates.get(arm, rate)
            if chosen.learning_rate != rate.learning_rate:
                raise KpodError(
                    f"outcomes {name}: arm {arm} has the learning rate {rate.learning_rate:g}, and "
                    f"{chosen.learning_rate:g} before; the seeds of one comparison share a rate"
                )
        return Outcomes(
            self.questions or other.questions,
            {**other.trials, **self.trials},
            {**other.rates, **self.rates},
        )


def outcome_lines(outcomes: Outcomes) -> str:
    """Return outcomes as the text of a file, the same for equal outcomes."""
    rows: list[Any] = [outcomes.questions] if outcomes.questions else []
    rows += [outcomes.rates[arm] for arm in sorted(outcomes.rates)]
    rows += [outcomes.trials[key] for key in sorted(outcomes.trials)]
    return "".join(
        f"{json.dumps(dataclasses.asdict(row), separators=(',', ':'))}\n" for row in rows
    )


def read_outcomes(text: str, name: str) -> Outcomes:
    """Return the outcomes in the text of a file; ``name`` is the file, for messages.

    Raises:
        KpodError: A line isn't an outcome, the first line doesn't hold the test questions, a trial has
            an answer too many or too few, or two lines are about the same trial or rate.
    """
    outcomes = Outcomes()
    for number, line in enumerate(text.splitlines(), start=1):
        place = f"outcomes {name} line {number}"
        try:
            row = _LINE.validate_json(line)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in problem["loc"][1:])
            raise KpodError(
                f"{place}: {where}{': ' if where else ''}{problem['msg']}; restore the file"
            ) from error
        if isinstance(row, QuestionSet) != (number == 1):
            raise KpodError(f"{place}: the first line alone holds the test questions; restore it")
        outcomes = _with_row(outcomes, row, place)
    return outcomes


def _with_row(outcomes: Outcomes, row: Any, place: str) -> Outcomes:
    """Return outcomes with the content of one more line; see `read_outcomes`."""
    if isinstance(row, QuestionSet):
        return dataclasses.replace(outcomes, questions=row)
    if isinstance(row, ChosenRate):
        if row.arm in outcomes.rates:
            raise KpodError(f"{place}: a second learning rate of arm {row.arm}; remove one line")
        return outcomes.with_rate(row)
    num_questions = len(outcomes.questions.ids) if outcomes.questions else 0
    if len(row.correct) != num_questions:
        raise KpodError(
            f"{place}: {len(row.correct)} answers to {num_questions} questions; restore the line"
        )
    if (row.arm, row.seed) in outcomes.trials:
        raise KpodError(f"{place}: arm {row.arm} with seed {row.seed} again; remove one line")
    return outcomes.with_trial(row)


def complete_seeds(outcomes: Outcomes, arms: Iterable[str]) -> list[int]:
    """Return the seeds, ascending, with which every arm has an outcome."""
    seeds = [{seed for name, seed in outcomes.trials if name == arm} for arm in arms]
    return sorted(set.intersection(*seeds)) if seeds else []
