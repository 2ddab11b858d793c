"""Settings of a comparison of methods. Every arm is trained with every seed on one shared corpus."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from kpod_ray.config.base import Config


class Arm(Config):
    """One method of a comparison: the config's settings with overrides."""

    description: str = ""
    """Short description of the method, for tables."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Dotted path -> value, for every setting that differs from the config."""


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
"""The built-in arms. A comparison always evaluates the student before training, too."""


class ComparisonConfig(Config):
    """Comparison of methods (``kpod compare``)."""

    arms: tuple[str, ...] = tuple(ARMS)
    """Names of the arms to train, built-in arms or ``custom_arms``."""
    custom_arms: dict[str, Arm] = Field(default_factory=dict)
    """Further arms by name: ``{description: ..., overrides: {dotted.path: value}}``. The overrides may
    change settings of ``weighting``, ``schedule`` and ``student``."""
    baseline: str = "uniform"
    """Name of the arm that all other arms are compared with in statistical tests."""
    num_seeds: int = Field(5, ge=1)
    """Trainings of each arm, with ``student.seed`` 0, 1, 2 ..."""
    budget: Literal["train_steps", "loss_tokens"] = "train_steps"
    """Training budget that is equal for all arms: the number of train steps, or the number of tokens in
    the loss (as many as in the stages of the baseline)."""
    max_concurrent: int | None = Field(None, ge=1)
    """Most trainings that run at the same time; None runs as many as fit on the cluster."""

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
        """Return name -> arm of the arms to train, in the order of ``arms``.

        A custom arm takes the place of a built-in arm of the same name.
        """
        known = {**ARMS, **self.custom_arms}
        return {name: known[name] for name in self.arms}
