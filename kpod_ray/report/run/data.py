"""The results of a run, as plain frozen data.

Texts may contain any characters: the page escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kpod_ray.evaluation.paired import PairedTest
from kpod_ray.evaluation.steps import StepStatistics
from kpod_ray.records import Prediction, Question, Rationale, WeightedRationale
from kpod_ray.report.plotting import Histogram

MAX_PREDICTIONS = 200
"""Test questions that are shown with their predictions."""
ROUNDING = 1e-9
"""Tolerance by which a computed end of an interval may lie outside [0, 1]."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How many test questions one model answered correctly."""

    label: str
    """Name of the model for readers, such as ``untouched``."""
    num_correct: int
    num_questions: int
    """Number of test questions asked; may be 0."""
    low: float
    """Lower end of the 95 % interval of the accuracy, a fraction in [0, 1]."""
    high: float
    """Upper end of that interval, a fraction in [0, 1]."""
    against_first: PairedTest | None = None
    """Test against the first model on the same questions; None for the first model, or if the two have
    no question in common."""
    steps: StepStatistics = field(default_factory=StepStatistics)
    """Reasoning steps of the model's answers against those of the gold rationales."""

    def __post_init__(self) -> None:
        """Check the counts and the interval.

        Raises:
            ValueError: A count is negative, there are more correct answers than questions, the
                interval's low end is above its high end, or an end is NaN or lies outside [0, 1] by more
                than `ROUNDING`.
        """
        if not 0 <= self.num_correct <= self.num_questions:
            raise ValueError(f"{self.label}: {self.num_correct} of {self.num_questions} correct")
        if not -ROUNDING <= self.low <= self.high <= 1 + ROUNDING:
            raise ValueError(f"{self.label}: the interval {self.low} to {self.high} is impossible")

    @property
    def share(self) -> float:
        """Fraction of correct answers, in [0, 1]; NaN without questions."""
        return self.num_correct / self.num_questions if self.num_questions else float("nan")


@dataclass(frozen=True, slots=True)
class FurtherSet:
    """The accuracies of both students on a further test set."""

    name: str
    num_left_out: int
    """Number of questions that weren't asked because they repeat a training question."""
    before: Accuracy
    """Accuracy of the untouched student."""
    after: Accuracy
    """Accuracy of the distilled student, with the test against the untouched one."""


@dataclass(frozen=True, slots=True)
class TokenWeight:
    """The mean token weight (w of Eq. 3) over all occurrences of one token text."""

    text: str
    """The token's span of the rationale, with case and spaces."""
    mean_weight: float
    count: int
    """How often the token text occurs in the rationales."""


@dataclass(frozen=True, slots=True)
class TrainPoint:
    """One train step of the student; losses in nats."""

    train_step: int
    """Number of the train step over all stages, from 1."""
    stage: int
    """Stage of the train step, from 1."""
    loss: float
    """The loss that is minimised: the weighted sum over the rationale tokens (Eq. 15) and the answer
    tokens, normalised as `student.loss_normalization` says."""
    rationale_loss: float
    """Mean negative log-likelihood of the rationale tokens in the loss, unweighted."""
    answer_loss: float
    """Mean negative log-likelihood of the answer tokens (second term of Eq. 1)."""
    token_weight_mean: float
    """Mean weight of the rationale tokens in the loss."""
    keypoint_share: float
    """The keypoints' part of the total weight of these tokens, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class WeightingPoint:
    """One validation of a token weighter."""

    weighter: int
    """Number of the token weighter, from 0."""
    train_step: int
    """Number of the token weighter's train steps before the validation; steps that adapt the predictor
    aren't counted."""
    validation_loss: float
    """Loss by which the best weighter is chosen, on the validation set, in nats."""
    weight_spread: float
    """Standard deviation of the token weights of the validation set."""


@dataclass(frozen=True, slots=True)
class MissingSteps:
    """The answer loss of the token weighter's predictor without the last reasoning steps."""

    num_missing: int
    """Number of reasoning steps that the predictor doesn't see."""
    loss: float
    """Mean answer loss over the validation rationales with more steps, in nats."""
    gain: float
    """Mean answer loss of the same rationales without any rationale, minus ``loss``, in nats."""


@dataclass(frozen=True, slots=True)
class PredictionPair:
    """The predictions of the untouched and of the distilled student for one test question."""

    question_id: str
    before: Prediction | None
    """Prediction of the untouched student; None if there is none."""
    after: Prediction
    """Prediction of the distilled student."""


@dataclass(frozen=True, slots=True)
class RunResults:
    """Everything that the report of a run shows; all fields but the name may be empty."""

    name: str
    accuracies: tuple[Accuracy, ...] = ()
    """Accuracies of the models: the first is the untouched student, the last the distilled student."""
    further_sets: tuple[FurtherSet, ...] = ()
    """Results on the further test sets."""
    verdict_counts: Mapping[str, int] = field(default_factory=dict)
    """`records.Verdict` -> number of the run's rationales with this verdict, used ones included."""
    rejects: tuple[Rationale, ...] = ()
    """Some rationales that aren't trained on, of each verdict."""
    questions: Mapping[str, Question] = field(default_factory=dict)
    """Id -> question of the shown examples; may lack some."""
    weighted_rationales: tuple[WeightedRationale, ...] = ()
    """Some rationales that are trained on, with their token weights."""
    step_difficulties: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Question id -> d of Eq. 8 of each reasoning step, in nats, NaN if unknown; for all questions with
    a rationale that is trained on."""
    token_weight_histogram: Histogram = field(default_factory=Histogram)
    """Histogram of the token weights of all rationales that are trained on."""
    top_tokens: tuple[TokenWeight, ...] = ()
    """Token texts with the highest mean weight, highest first."""
    bottom_tokens: tuple[TokenWeight, ...] = ()
    """Token texts with the lowest mean weight, lowest first."""
    given_steps_counts: tuple[tuple[int, ...], ...] = ()
    """[stage][number of given steps] -> number of questions; stage 0 is the state before training."""
    ceilings: tuple[float, ...] = ()
    """Difficulty ceiling D(t) of Eq. 10 for each stage from 0, in nats."""
    planned: tuple[float, ...] = ()
    """Planned difficulty H(t) for each stage from 0, in nats."""
    train_history: tuple[TrainPoint, ...] = ()
    """All train steps of the student, in order."""
    weighting_history: tuple[WeightingPoint, ...] = ()
    """All validations of the token weighters, in order."""
    missing_steps: tuple[MissingSteps, ...] = ()
    """Answer losses of the predictor, from whole rationales to rationales without more steps."""
    predictions: tuple[PredictionPair, ...] = ()
    """Predictions for some test questions."""
    correct_pairs: tuple[tuple[bool, bool], ...] = ()
    """Whether the untouched and the distilled student are right, for the questions of both."""
    warnings: Mapping[str, str] = field(default_factory=dict)
    """Name of an artifact -> warning of its phase."""
    phase_seconds: Mapping[str, float] = field(default_factory=dict)
    """Name of an artifact -> seconds that its phase took, in the order of the phases."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package -> version."""
    config_yaml: str = ""
    """The resolved config, as YAML."""
