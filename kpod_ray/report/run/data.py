"""Everything the page shows, as plain frozen data; only the name is needed, the rest may be empty.

Who builds a `RunResults` chooses how many examples go in. Texts may come from a model and may hold
anything; the page makes them harmless.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kpod_ray.records import Prediction, Question, Rationale, WeightedRationale
from kpod_ray.report.plotting import Histogram

ROUNDING = 1e-9
"""So far may an interval's end leave [0, 1], as computed ends do."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How many test questions one model answered correctly."""

    label: str
    """The model as the reader knows it, such as ``untouched student``."""
    num_correct: int
    num_questions: int
    low: float
    """Lower end of the 95 % interval of the accuracy, a share in [0, 1]."""
    high: float
    """Upper end of the 95 % interval of the accuracy, a share in [0, 1]."""

    def __post_init__(self) -> None:
        """Refuse counts and intervals that can't be.

        Raises:
            ValueError: More correct answers than questions, or a low end above the high end.
        """
        if not 0 <= self.num_correct <= self.num_questions:
            raise ValueError(f"{self.label}: {self.num_correct} of {self.num_questions} correct")
        if not -ROUNDING <= self.low <= self.high <= 1 + ROUNDING:
            raise ValueError(f"{self.label}: the interval {self.low} to {self.high} is impossible")

    @property
    def share(self) -> float:
        """Share of correct answers in [0, 1]; NaN without questions."""
        return self.num_correct / self.num_questions if self.num_questions else float("nan")

    def overlaps(self, other: Accuracy) -> bool:
        """Whether the two 95 % intervals have a point in common."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True, slots=True)
class TokenWeight:
    """The mean keypoint weight (w of Eq. 3) over all places where one token text stands."""

    text: str
    mean_weight: float
    count: int
    """How often the token text occurs in the rationales."""


@dataclass(frozen=True, slots=True)
class TrainPoint:
    """One train step of the student; losses in nats."""

    train_step: int
    stage: int
    loss: float
    """What is minimised: the weighted sum over all loss tokens (Eq. 15 plus the answer's), divided."""
    rationale_loss: float
    """Mean negative log-likelihood of the rationale tokens in the loss, unweighted."""
    answer_loss: float
    """Mean negative log-likelihood of the answer tokens (second term of Eq. 1)."""
    token_weight_mean: float
    """Mean keypoint weight of the rationale tokens in the loss."""


@dataclass(frozen=True, slots=True)
class WeightingPoint:
    """One validation of the token weighter."""

    train_step: int
    validation_loss: float
    """L_k of Eq. 7 on the held-back rationales, in nats."""
    kept_fraction: float
    """Mean share of tokens the keypoint mask keeps, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class PredictionPair:
    """One test question answered by the untouched model and by the student."""

    question_id: str
    before: Prediction | None
    """None when the untouched model was not asked."""
    after: Prediction


@dataclass(frozen=True, slots=True)
class RunResults:
    """A run as its report shows it; an empty field is a section that says so."""

    name: str
    accuracies: tuple[Accuracy, ...] = ()
    """The first is the model before training, the last the student; others may stand between."""
    verdict_counts: Mapping[str, int] = field(default_factory=dict)
    """`records.Verdict` -> rationales."""
    rejects: tuple[Rationale, ...] = ()
    """Some rationales that were set aside."""
    questions: Mapping[str, Question] = field(default_factory=dict)
    """Question id -> question, for what is shown; a missing one is said to be missing."""
    weighted_rationales: tuple[WeightedRationale, ...] = ()
    """Some rationales to show with their token weights."""
    step_difficulties: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Question id -> d of Eq. 8 of each reasoning step, in nats; of all questions."""
    token_weight_histogram: Histogram = field(default_factory=Histogram)
    """Token weights of all rationales."""
    top_tokens: tuple[TokenWeight, ...] = ()
    """Token texts with the highest mean weight, highest first."""
    bottom_tokens: tuple[TokenWeight, ...] = ()
    """Token texts with the lowest mean weight, lowest first."""
    given_steps_counts: tuple[tuple[int, ...], ...] = ()
    """[stage][number of given steps] -> questions; stage 0 is the starting state."""
    ceilings: tuple[float, ...] = ()
    """D(t) of Eq. 10 per stage from 0, in nats."""
    planned: tuple[float, ...] = ()
    """H(t), the difficulty the plan asks for, per stage from 0, in nats."""
    train_history: tuple[TrainPoint, ...] = ()
    weighting_history: tuple[WeightingPoint, ...] = ()
    predictions: tuple[PredictionPair, ...] = ()
    """Some test questions."""
    phase_seconds: Mapping[str, float] = field(default_factory=dict)
    """Phase -> seconds, in the order of the phases."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package -> version."""
    config_yaml: str = ""
    """The resolved config."""
