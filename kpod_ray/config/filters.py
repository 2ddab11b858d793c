"""What a teacher's rationale must be, besides correct, to be trained on."""

from __future__ import annotations

from pydantic import Field, model_validator

from kpod_ray.config.base import Config


class FiltersConfig(Config):
    """Limits; a rationale outside one is set aside, and counted under the name of that limit."""

    max_chars: int = Field(8000, ge=1)
    """Rationales with more characters are set aside as unreadable."""
    min_steps: int = Field(1, ge=1)
    """Fewest reasoning steps, the sentence that announces the answer not counted."""
    max_steps: int | None = Field(None, ge=1)
    """Most reasoning steps."""
    min_tokens: int = Field(0, ge=0)
    """Fewest generated tokens; a rationale whose tokens weren't counted passes."""
    max_tokens: int | None = Field(None, ge=1)
    """Most generated tokens."""
    near_duplicate: float | None = Field(None, gt=0, le=1)
    """A rationale is a duplicate when it shares this part of its word triples (Jaccard index) with an
    earlier one of the same question. None: only the same text, white space and case aside, is one."""
    allow_leaks: bool = False
    """Whether a rationale may start with its answer and reason afterwards, or never."""
    self_consistency: float | None = Field(None, gt=0, le=1)
    """Questions without a gold answer are then allowed: the answer that most samples give stands in
    for it when at least this share of the samples that give any agrees; others are set aside."""

    @model_validator(mode="after")
    def _check_limits(self) -> FiltersConfig:
        for name in ("steps", "tokens"):
            least, most = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if most is not None and least > most:
                raise ValueError(f"min_{name} is larger than max_{name}")
        return self
