"""A comparison of methods: arms times seeds over one shared corpus."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from kpod_ray.config.base import Config


class Arm(Config):
    """One method of a comparison."""

    description: str = ""
    """What it is, in a line for tables."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Dotted path -> value: what differs from the config's own settings."""


_CHANGEABLE = ("weighting", "schedule", "student")
"""Groups of settings that an arm may change."""
_UNIFORM: dict[str, Any] = {"student.token_weights": "uniform", "schedule.order": "none"}
_KPOD = {"student.token_weights": "from_weighting", "schedule.order": "progressive"}
ARMS: dict[str, Arm] = {
    "answer_only": Arm(
        description="the answer alone, no rationale",
        overrides={**_UNIFORM, "student.target": "answer"},
    ),
    "uniform": Arm(description="whole rationales, all tokens alike (Eq. 1)", overrides=_UNIFORM),
    "dft": Arm(
        description="each token scaled by its own probability (DFT)",
        overrides={**_UNIFORM, "student.loss": "dft"},
    ),
    "hand_weights": Arm(
        description="hand weights: digits and operators",
        overrides={
            **_UNIFORM,
            "student.token_weights": "from_weighting",
            "weighting": {"kind": "hand"},
        },
    ),
    "easy_to_hard": Arm(
        description="easy questions first, whole rationales",
        overrides={**_UNIFORM, "schedule.order": "easy_to_hard"},
    ),
    "kpod": Arm(description="KPOD", overrides=_KPOD),
    "kpod_without_weights": Arm(
        description="KPOD, all tokens alike in the loss (w.o.-sig)",
        overrides={**_KPOD, "student.token_weights": "uniform"},
    ),
    "kpod_uniform_difficulty": Arm(
        description="KPOD, all tokens alike in step difficulty (w.o.-sig-dif)",
        overrides={**_KPOD, "schedule.difficulty_weights": "uniform"},
    ),
    "kpod_without_progress": Arm(
        description="KPOD, whole rationales from the start (w.o.-prog)",
        overrides={**_KPOD, "schedule.order": "none"},
    ),
    "kpod_without_diversity": Arm(
        description="KPOD without the diversity term (w.o.-div)",
        overrides={**_KPOD, "schedule.diversity_weight": 0.0},
    ),
    "kpod_adaptive": Arm(
        description="KPOD, difficulty measured again at every stage",
        overrides={**_KPOD, "schedule.adaptive": True},
    ),
}
"""The arms that are built in; the untouched student is always beside them."""


class ComparisonConfig(Config):
    """What ``kpod compare`` trains and tests."""

    arms: tuple[str, ...] = tuple(ARMS)
    """Names of the arms, built in or of ``custom_arms``."""
    custom_arms: dict[str, Arm] = Field(default_factory=dict)
    """Arms of your own, by name: ``{description: ..., overrides: {dotted.path: value}}``. They may
    change whatever comes after the corpus: ``weighting``, ``schedule``, ``student``."""
    baseline: str = "uniform"
    """Arm that the others are tested against."""
    num_seeds: int = Field(5, ge=1)
    """Trainings of each arm, with ``student.seed`` 0, 1, 2 ..."""
    budget: Literal["train_steps", "loss_tokens"] = "train_steps"
    """What all arms get the same of: train steps, or tokens in the loss (as many as the baseline's
    stages have)."""
    max_concurrent: int | None = Field(None, ge=1)
    """Trainings at the same time; None takes as many as the cluster has room for."""

    @model_validator(mode="after")
    def _check_arms(self) -> ComparisonConfig:
        known = {**ARMS, **self.custom_arms}
        for name in (*self.arms, self.baseline):
            if name not in known:
                raise ValueError(f"unknown arm {name}; known are {', '.join(sorted(known))}")
        if self.baseline not in self.arms:
            raise ValueError(f"the baseline {self.baseline} is not among the arms")
        for name, arm in self.custom_arms.items():
            early = [path for path in arm.overrides if path.split(".")[0] not in _CHANGEABLE]
            if early:
                raise ValueError(
                    f"arm {name} changes {early[0]}; an arm may change {', '.join(_CHANGEABLE)}"
                )
        return self

    def chosen(self) -> dict[str, Arm]:
        """Return the arms to train, in order."""
        known = {**ARMS, **self.custom_arms}
        return {name: known[name] for name in self.arms}
