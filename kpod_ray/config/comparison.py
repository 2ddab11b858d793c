"""Settings of a comparison of methods. Every arm is trained with every seed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from kpod_ray.config.base import Config, LearningRate
from kpod_ray.config.reading.strict_yaml import shown

ArmName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
"""Letters, digits, ``.``, ``_`` and ``-``."""
UNTRAINED = "untrained"
"""Name of the arm that is added for the untouched student."""
LONGER_BASELINE = "longer_baseline"
"""Name of the arm that ``comparison.equal_cost`` adds."""
MAX_SEED = 999_999
"""Largest seed of a comparison. Learning rates are chosen with the seeds after it."""


class Arm(Config):
    """One method of a comparison: the config's settings with overrides."""

    description: str = ""
    """Short description of the method, for tables."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Dotted path -> value, for every setting that differs from the config."""


_CHANGEABLE = ("weighting", "schedule", "student")
"""Groups of settings that an arm may change."""
_SHARED: Mapping[str, str] = {
    **dict.fromkeys(
        ("model", "template", "precision"), "the untouched student is evaluated once for all arms"
    ),
    **dict.fromkeys(
        ("max_length", "overlength", "validation_fraction"), "all arms train on the same examples"
    ),
    "kernels": "all arms are computed alike",
    "seed": "comparison.num_seeds sets it",
    "loss_token_budget": "comparison.budget sets it",
}
"""Setting of ``student`` that no arm may change -> the reason."""
_STEPS = ("schedule.num_stages", "student.global_batch_size")
"""Settings that change the number of train steps."""
_UNIFORM: dict[str, Any] = {"student.token_weights": "uniform", "schedule.order": "none"}
_WEIGHTED = {"student.token_weights": "from_weighting", "student.boundary": True}
_PAPER_WEIGHTING = {
    "kind": "learned",
    "floor": None,
    "mask_ratio_weight": 0.5,
    "whole_fraction": 0.0,
    "num_seeds": 1,
}
_PAPER_LOSS = {"student.boundary": False, "weighting": _PAPER_WEIGHTING}
"""Eq. 5 to 7 and 15 as written: one weighter that reads prefixes and is charged for kept tokens, whose
weights are used without a floor, and no boundary."""
_KPOD = {**_WEIGHTED, "schedule.order": "progressive"}
ARMS: dict[str, Arm] = {
    "answer_only": Arm(
        description="the answer alone, no rationale",
        overrides={**_UNIFORM, "student.target": "answer"},
    ),
    "uniform": Arm(
        description="plain distillation, whole rationales, all tokens alike (Eq. 1)",
        overrides=_UNIFORM,
    ),
    "dft": Arm(
        description="each token scaled by its own probability (DFT)",
        overrides={**_UNIFORM, "student.loss": "dft"},
    ),
    "hand_weights": Arm(
        description="hand weights: digits and operators",
        overrides={
            **_UNIFORM,
            **_WEIGHTED,
            "weighting": {"kind": "hand"},
        },
    ),
    "shuffled_weights": Arm(
        description="whole rationales, token weights in random order",
        overrides={**_UNIFORM, **_WEIGHTED, "student.token_weights": "shuffled"},
    ),
    "without_boundary": Arm(
        description="whole rationales, token weights without boundary",
        overrides={**_UNIFORM, **_WEIGHTED, "student.boundary": False},
    ),
    "paper_weights": Arm(
        description="whole rationales, token weights of Eq. 15 as written",
        overrides={**_UNIFORM, **_WEIGHTED, **_PAPER_LOSS},
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
    "kpod_paper": Arm(
        description="KPOD, token weights of Eq. 15 as written",
        overrides={**_KPOD, **_PAPER_LOSS},
    ),
    "kpod_adaptive": Arm(
        description="KPOD, difficulty measured again at every stage",
        overrides={**_KPOD, "schedule.adaptive": True},
    ),
}
"""The built-in arms. A comparison always evaluates the student before training, too."""


class ComparisonConfig(Config):
    """Comparison of methods (``kpod compare``)."""

    arms: tuple[ArmName, ...] = tuple(ARMS)
    """Names of the arms to train, built-in arms or ``custom_arms``."""
    custom_arms: dict[ArmName, Arm] = Field(default_factory=dict)
    """Further arms by name: ``{description: ..., overrides: {dotted.path: value}}``. The overrides may
    change settings of ``weighting``, ``schedule`` and ``student``, but for those of the student that all
    arms share: ``model``, ``template``, ``precision``, ``max_length``, ``overlength``, ``kernels``,
    ``validation_fraction``, ``seed`` and ``loss_token_budget``."""
    baseline: str = "uniform"
    """Name of the arm that all other arms are compared with in statistical tests."""
    contrasts: tuple[tuple[str, str], ...] = ()
    """The pairs of arms, ``[arm, other arm]``, that are tested, and for whose number the p-values are
    corrected. State them before the first training. Empty: every arm, also ``untrained``, is tested
    against the baseline."""
    num_seeds: int = Field(5, ge=1, le=10_000)
    """Trainings of each arm, with the seeds ``first_seed``, ``first_seed`` + 1, ..."""
    first_seed: int = Field(0, ge=0, le=MAX_SEED - 10_000)
    """First seed. With other seeds, another machine can run a part of the comparison, whose outcomes are
    merged with ``--outcomes``."""
    resample: Literal["order", "questions", "all"] = "order"
    """What a seed draws anew. ``order``: the order of the examples and the other random numbers of the
    training (``student.seed``); all seeds share questions, token weights and difficulties, so the
    results hold for these alone. ``questions``: also the training questions (``questions.train_seed``),
    from which weights and difficulties follow. ``all``: also the random numbers of teacher, token
    weighter and plan (``seed``). The test questions are always the same."""
    learning_rates: tuple[LearningRate, ...] = ()
    """Learning rates, from which the best one of each arm is chosen: the one with the highest validation
    accuracy at the end of the training. Empty: all arms have ``student.learning_rate``. The choice needs
    ``student.validation_fraction`` and ``student.accuracy_every_stages``; the test questions aren't
    used."""
    num_tuning_seeds: int = Field(1, ge=1, le=1_000)
    """Trainings of each arm with each of ``learning_rates``, with seeds that the comparison has not."""
    equal_cost: bool = False
    """Whether the baseline is also trained for longer, with each seed until it has processed as many
    tokens as the most expensive arm, token weighter and assessment included."""
    budget: Literal["train_steps", "loss_tokens"] = "train_steps"
    """Training budget that is equal for all arms: the number of train steps, or the number of tokens in
    the loss (as many as in the stages of the baseline)."""
    max_concurrent: int | None = Field(None, ge=1, le=100_000)
    """Most trainings that run at the same time; None runs as many as fit on the cluster."""

    @model_validator(mode="after")
    def _check_arms(self) -> ComparisonConfig:
        known = {**ARMS, **self.custom_arms}
        for name in (*self.arms, self.baseline):
            if name not in known:
                raise ValueError(f"unknown arm {_named(name, known)}")
        if self.baseline not in self.arms:
            raise ValueError(f"the baseline {self.baseline} is not among the arms; add it to arms")
        if len(set(self.arms)) < len(self.arms):
            twice = next(name for name in self.arms if self.arms.count(name) > 1)
            raise ValueError(f"arm {twice} is listed twice in arms; remove one")
        return self

    @model_validator(mode="after")
    def _check_contrasts(self) -> ComparisonConfig:
        known = (UNTRAINED, *self.arms)
        for arm, other in self.contrasts:
            for name in (arm, other):
                if name not in known:
                    raise ValueError(f"contrasts: {name} is not among the arms; add it to arms")
            if arm == other:
                raise ValueError(f"contrasts: {arm} is compared with itself; give two arms")
        if len(set(map(frozenset, self.contrasts))) < len(self.contrasts):
            raise ValueError("contrasts: a pair of arms is listed twice; remove one")
        return self

    @model_validator(mode="after")
    def _check_learning_rates(self) -> ComparisonConfig:
        if len(set(self.learning_rates)) < len(self.learning_rates):
            raise ValueError("learning_rates: a rate is listed twice; remove one")
        for name, arm in self.chosen().items() if self.learning_rates else ():
            if "student.learning_rate" in _paths(arm.overrides):
                raise ValueError(
                    f"arm {name} changes student.learning_rate, which comparison.learning_rates "
                    "chooses; remove one of them"
                )
        return self

    @model_validator(mode="after")
    def _check_custom_arms(self) -> ComparisonConfig:
        for name, arm in self.custom_arms.items():
            if name in (*ARMS, UNTRAINED, LONGER_BASELINE):
                raise ValueError(f"{name} is a built-in arm; give the custom arm another name")
            for path in _paths(arm.overrides):
                _check_path(name, path)
                if self.budget == "train_steps" and path in _STEPS:
                    raise ValueError(
                        f"arm {name} changes {path}, and so the number of train steps, which "
                        "comparison.budget keeps equal; set comparison.budget=loss_tokens"
                    )
        return self

    def chosen(self) -> dict[str, Arm]:
        """Return name -> arm of the arms to train, in the order of ``arms``."""
        known = {**ARMS, **self.custom_arms}
        return {name: known[name] for name in self.arms}

    def seeds(self) -> range:
        """Return the seeds of the config."""
        return range(self.first_seed, self.first_seed + self.num_seeds)


def _named(name: str, known: Mapping[str, Arm]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    custom = [arm for arm in known if arm not in ARMS]
    listed = f"; custom arms are {', '.join(custom[:5])}" if custom else ""
    return f"{name}, did you mean {nearest[0]}?" if nearest else f"{name}{listed}"


def _paths(overrides: Mapping[str, Any]) -> Iterator[str]:
    """Yield the dotted path of each setting that overrides change; groups may be nested mappings."""
    for path, value in overrides.items():
        if path in _CHANGEABLE and isinstance(value, Mapping):
            yield from (f"{path}.{key}" for key in value)
        else:
            yield path


def _check_path(arm: str, path: str) -> None:
    group, _, setting = path.partition(".")
    if group not in _CHANGEABLE:
        raise ValueError(
            f"arm {arm} changes {shown(path)}; an arm may change {', '.join(_CHANGEABLE)}"
        )
    if group == "student" and setting.partition(".")[0] in _SHARED:
        reason = _SHARED[setting.partition(".")[0]]
        raise ValueError(f"arm {arm} changes {path}, which no arm may: {reason}")
