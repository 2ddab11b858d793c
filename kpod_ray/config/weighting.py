"""Where the token weights come from: a learned weighter, a file, or a rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from kpod_ray.config.base import Config


class LearnedWeighting(Config):
    """The token weighter (Eq. 2 to 7): how it is built and trained."""

    resource_groups: ClassVar[tuple[str, ...]] = ("weighting", "apply_weighter")
    """Groups of ``resources`` that making the weights takes from the cluster."""
    kind: Literal["learned"] = "learned"
    """Says that ``weighting`` is of this kind, as it is without a ``kind``."""
    predictor: str | None = None
    """Model that predicts the answer from a masked rationale, causal or encoder-decoder (T5, Flan-T5),
    named like a student; None takes a copy of the student."""
    num_heads: int | None = Field(None, ge=1)
    """Heads of the weighter's self-attention; None takes as many as the student has."""
    mask: Literal["relaxed", "straight_through"] = "relaxed"
    """Gumbel mask: ``straight_through`` rounds it in the forward pass (Eq. 4), ``relaxed`` does not.
    In our runs ``straight_through`` lost all weights within 20 train steps."""
    mask_position: Literal["before_attention", "after_attention"] = "before_attention"
    """What the mask acts on: the rationale's embeddings, or what the weighter's self-attention makes
    of them (the paper's Figure 1), where a kept neighbour may carry a masked token."""
    temperature: float = Field(0.7, gt=0)
    """Gumbel temperature, at the first train step."""
    final_temperature: float | None = Field(None, gt=0)
    """Gumbel temperature at the last train step, reached by equal factors; None: it stays the same."""
    prefixes: Literal["sampled", "all"] = "sampled"
    """Prefixes of a rationale in one train step: one that is drawn, or ``all`` (Eq. 5's whole sum, as a
    mean), which costs as many times more as the rationale has tokens."""
    whole_fraction: float = Field(0.5, ge=0, le=1)
    """Share of the rationales that are read whole, the others up to a prefix drawn uniformly.
    0 is Eq. 5 as written, where short rationales rarely show the predictor their answer."""
    mask_ratio_weight: float = Field(0.5, ge=0)
    """alpha of Eq. 7: weight of the share of kept tokens, in nats."""
    num_adapt_steps: int = Field(80, ge=0)
    """Train steps in which the predictor learns to read randomly masked rationales."""
    adapt_learning_rate: float = Field(1e-4, gt=0)
    """AdamW learning rate of the predictor while it adapts, and of the projection before another model
    than the student."""
    mask_vector_learning_rate: float = Field(1e-3, gt=0)
    """AdamW learning rate of the vector that stands for a masked token."""
    num_train_steps: int = Field(100, ge=1)
    """Most train steps of the weighter: few give the order of the tokens, more pull their weights
    apart."""
    learning_rate: float = Field(3e-4, gt=0)
    """AdamW learning rate of the weighter."""
    global_batch_size: int = Field(8, ge=1)
    """Rationales of one train step, over all workers."""
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of the rationales held back to choose the best train step by."""
    max_validation: int = Field(64, ge=1)
    """At most so many rationales are held back."""
    validate_every: int = Field(10, ge=1)
    """Train steps between two validations."""
    patience: int = Field(5, ge=1)
    """Validations without a better loss before training stops."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Type of the predictor's arithmetic; parameters stay fp32."""


class FileWeighting(Config):
    """Token weights that lie in a file, in place of a learned weighter's."""

    resource_groups: ClassVar[tuple[str, ...]] = ()
    kind: Literal["file"]
    path: str
    """JSON Lines or Parquet with the columns ``id``, ``rationale``, ``weights`` (spans ``[start, end,
    weight]`` of its characters) and maybe ``steps`` (spans), as ``kpod export`` writes them."""
    default_weight: float = Field(1.0, ge=0, le=1)
    """Weight of the text outside all spans."""


class HandWeighting(Config):
    """Token weights by a rule: a token of the student with a digit or an operator weighs 1."""

    resource_groups: ClassVar[tuple[str, ...]] = ()
    kind: Literal["hand"]
    plain_weight: float = Field(0.3, ge=0, le=1)
    """Weight of a rationale token without digit or operator."""


def _with_kind(value: Any) -> Any:
    """Add the kind to settings that have none: they are a learned weighter's."""
    return {"kind": "learned", **value} if isinstance(value, Mapping) else value


WeightingConfig = Annotated[
    LearnedWeighting | FileWeighting | HandWeighting,
    Field(discriminator="kind"),
    BeforeValidator(_with_kind),
]
