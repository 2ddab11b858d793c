"""Settings of the token weights, which a learned weighter, a file or a rule provides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from kpod_ray.config.base import Config, LearningRate, Line


class LearnedWeighting(Config):
    """Token weights of a learned token weighter (Eq. 2 to 7)."""

    resource_groups: ClassVar[tuple[str, ...]] = ("weighting", "apply_weighter")
    """Groups of ``resources`` that this kind of weighting takes from the cluster."""
    kind: Literal["learned"] = "learned"
    """Kind of ``weighting``; ``learned`` is the default."""
    predictor: Line | None = None
    """Model that predicts the answer from a masked rationale, causal or encoder-decoder (T5, Flan-T5),
    named like a student; None takes a copy of the student."""
    num_heads: int | None = Field(None, ge=1, le=65_536)
    """Number of heads of the weighter's self-attention; None takes the student's number of heads."""
    mask: Literal["relaxed", "straight_through"] = "relaxed"
    """Gumbel mask: ``straight_through`` rounds the mask to 0 or 1 in the forward pass (Eq. 4),
    ``relaxed`` doesn't. In our runs with ``straight_through`` all weights collapsed within 20 train
    steps."""
    mask_position: Literal["before_attention", "after_attention"] = "before_attention"
    """What is masked: the rationale's embeddings (``before_attention``), or the output of the
    weighter's self-attention over them (``after_attention``, as in Figure 1 of the paper), where the
    state of a kept token may contain information of a masked token."""
    temperature: float = Field(0.7, ge=0.001, le=1000)
    """Gumbel temperature at the first train step."""
    final_temperature: float | None = Field(None, ge=0.001, le=1000)
    """Gumbel temperature at the last train step; the temperature changes exponentially in between. None
    keeps ``temperature`` constant."""
    prefixes: Literal["sampled", "all"] = "sampled"
    """Prefixes of each rationale in a train step: one ``sampled`` prefix, or ``all`` prefixes (the
    sum of Eq. 5, as a mean). The cost of ``all`` grows with the number of tokens of the rationale."""
    whole_fraction: float | None = Field(None, ge=0, le=1)
    """Probability that the whole rationale is read instead of a prefix of uniform length. 0 is Eq. 5 as
    written, where the predictor rarely reads the end of a rationale, which often states the answer. None
    is 0.5 for the predictor, and for the weighter 0.5 if prefixes help the adapted predictor, else 1:
    prefixes help if its answer loss on validation rationales without their last reasoning step is lower
    than without any rationale."""
    mask_ratio_weight: float | None = Field(None, ge=0, le=1_000_000)
    """alpha of Eq. 7, in nats: weight of the fraction of kept tokens in the loss; 0.5 in the paper. With
    None there is no such penalty: every mask keeps a random fraction of the rationale's tokens, from 15
    to 85 %, in expectation exactly, so that the weights cannot collapse."""
    num_seeds: int = Field(2, ge=1, le=100)
    """Number of weighters, each with its own predictor, which are trained one after the other. With more
    than one, the weight of a token is the mean of its ranks within the corpus, from 0 to 1."""
    num_adapt_steps: int = Field(40, ge=0, le=100_000_000)
    """Number of train steps in which the predictor learns to read randomly masked rationales, before the
    weighter is trained."""
    adapt_learning_rate: LearningRate = 2e-4
    """Largest AdamW learning rate of the predictor in these steps, including the projection of the
    student's embeddings if the predictor is another model."""
    mask_vector_learning_rate: LearningRate = 1e-3
    """Largest AdamW learning rate of the vector that replaces the embedding of a masked token."""
    num_train_steps: int = Field(24, ge=1, le=100_000_000)
    """Largest number of train steps of the weighter."""
    learning_rate: LearningRate = 1e-3
    """Largest AdamW learning rate of the weighter. All learning rates of this group rise in the first
    tenth of the train steps and then fall linearly to 0."""
    global_batch_size: int = Field(8, ge=1, le=1_000_000)
    """Number of rationales of one train step, over all workers."""
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    """Fraction of the rationales in the validation set, by which the best weighter is chosen."""
    max_validation: int = Field(32, ge=1)
    """Largest number of rationales in the validation set."""
    validate_every: int = Field(8, ge=1)
    """Number of train steps between two validations."""
    patience: int = Field(5, ge=1)
    """Number of validations without a lower loss after which the training stops."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Floating-point type of the predictor's computation; parameters stay fp32."""
    floor: float | None = Field(0.1, ge=0, lt=1)
    """Lower bound of the token weights, which are ``floor + (1 - floor) * quantile``. The quantile is
    that of the token's learned weight among all tokens of the corpus. None takes the learned weights
    themselves (Eq. 15 as written)."""


class FileWeighting(Config):
    """Token weights from a file."""

    resource_groups: ClassVar[tuple[str, ...]] = ()
    kind: Literal["file"]
    path: Line
    """JSON Lines or Parquet file, as ``kpod export`` writes. Columns: ``id``; ``rationale``;
    ``weights``, a list of spans ``[start, end, weight]`` of the rationale's characters; and
    optionally ``steps``, a list of spans ``[start, end]``."""
    default_weight: float = Field(1.0, ge=0, le=1)
    """Weight of the text outside all spans of a rationale."""


class HandWeighting(Config):
    """Token weights by a rule: a token with a digit or an operator weighs 1, other tokens less."""

    resource_groups: ClassVar[tuple[str, ...]] = ()
    kind: Literal["hand"]
    plain_weight: float = Field(0.3, ge=0, le=1)
    """Weight of a rationale token without digit and operator."""


def with_default_kind(value: Any) -> Any:
    """Return settings with ``kind: learned`` added if ``kind`` is missing: the union requires a kind.

    A mapping is copied; any other value is returned unchanged.
    """
    default = LearnedWeighting.model_fields["kind"].default
    return {"kind": default, **value} if isinstance(value, Mapping) else value


WeightingConfig = Annotated[
    LearnedWeighting | FileWeighting | HandWeighting,
    Field(discriminator="kind"),
    BeforeValidator(with_default_kind),
]
