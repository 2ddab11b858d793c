"""Where metrics go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from kpod_ray.config.base import Config, explain, merged, parse_override, replaced
from kpod_ray.config.comparison import ComparisonConfig
from kpod_ray.config.questions import ArithmeticQuestions, QuestionsConfig
from kpod_ray.config.resources import ResourcesConfig, check_parallel
from kpod_ray.config.schedule import ScheduleConfig
from kpod_ray.config.student import EvaluationConfig, StudentConfig
from kpod_ray.config.sweep import SweepConfig
from kpod_ray.config.teacher import StepsConfig, TeacherConfig, VllmTeacher
from kpod_ray.config.weighting import LearnedWeighting, WeightingConfig
from kpod_ray.errors import KpodError


class TrackingConfig(Config):
    """Weights & Biases."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """``auto`` is online with an API key and offline without one; ``WANDB_MODE`` may say ``offline`` or
    ``disabled``. What goes online lies in files of this machine, too."""
    entity: str | None = None
    """W&B team or user; None is ``WANDB_ENTITY``, or the key's own."""
    project: str = "kpod"
    """W&B project."""
    group: str | None = None
    """W&B group, such as the name of a sweep."""


class RunConfig(Config):
    """One distillation run from questions to a student."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run: letters, digits, ``.``, ``_`` and ``-``."""
    storage: str = "~/kpod_runs"
    """Folder of all results, a local path, ``s3://`` or ``gs://``."""
    seed: int = Field(0, ge=0)
    """Seed of everything random."""
    questions: QuestionsConfig = ArithmeticQuestions()
    """Where the questions come from."""
    teacher: TeacherConfig
    """Where the rationales come from."""
    steps: StepsConfig = StepsConfig()
    """Cutting rationales into reasoning steps."""
    weighting: WeightingConfig | None = LearnedWeighting()
    """The token weights: of a learned weighter, of a file, or by a rule; None is off: all tokens of
    all rationales weigh 1."""
    schedule: ScheduleConfig = ScheduleConfig()
    """The progressive schedule."""
    student: StudentConfig
    """The student."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation."""
    comparison: ComparisonConfig = ComparisonConfig()
    """Comparison of methods."""
    sweep: SweepConfig = SweepConfig()
    """A sweep over settings."""
    resources: ResourcesConfig = ResourcesConfig()
    """Where things run."""
    tracking: TrackingConfig = TrackingConfig()
    """Weights & Biases."""

    @model_validator(mode="after")
    def _check_answers(self) -> RunConfig:
        is_open = not isinstance(self.questions, ArithmeticQuestions) and (
            self.questions.allow_missing_answers
        )
        if is_open and self.teacher.filters.self_consistency is None:
            raise ValueError(
                "questions.allow_missing_answers needs teacher.filters.self_consistency: without a "
                "gold answer, only what most samples agree on can be right"
            )
        return self

    @model_validator(mode="after")
    def _check_engines(self) -> RunConfig:
        engines = {"evaluate": self.evaluation.engine_kwargs}
        if isinstance(self.teacher, VllmTeacher):
            engines["teacher"] = self.teacher.engine_kwargs
        for phase, engine in engines.items():
            try:
                check_parallel(getattr(self.resources, phase), engine)
            except ValueError as error:
                raise ValueError(f"resources.{phase}: {error}") from None
        return self

    @property
    def training_seed(self) -> int:
        """Seed of the student's training."""
        return self.seed if self.student.seed is None else self.student.seed

    def override(self, overrides: Mapping[str, Any]) -> RunConfig:
        """Return a validated copy with dotted paths replaced.

        Args:
            overrides: dotted path -> value, such as ``{"student.learning_rate": 3e-5}``.

        Raises:
            KpodError: A path leads nowhere or a value is not allowed.
        """
        return _validated(replaced(self.model_dump(), overrides))


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file, apply ``dotted.path=value`` overrides and validate the result once.

    A key ``base`` names a file, or several, whose settings hold where this file sets none; of several
    the later ones win. Their paths are relative to the file that names them.

    Raises:
        KpodError: A file is missing or no YAML mapping, or is its own base; a key is unknown, a value
            is not allowed.
    """
    raw = _read_layers(Path(path), ())
    return _validated(replaced(raw, dict(parse_override(text) for text in overrides)))


def _read_layers(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """Read a file over its bases; ``above`` are the files that led here."""
    if path.resolve() in above:
        raise KpodError(f"config {path}: it is its own base; take it out of a base")
    top = _read(path)
    layers: dict[str, Any] = {}
    for base in _bases(path, top.pop("base", [])):
        layers = merged(layers, _read_layers(path.parent / base, (*above, path.resolve())))
    return merged(layers, top)


def _bases(path: Path, value: object) -> list[str]:
    bases: list[Any] = value if isinstance(value, list) else [value]
    for base in bases:
        if not isinstance(base, str):
            raise KpodError(f"config {path}: base: expected a file or a list of files (got {base})")
    return bases


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise KpodError(f"config {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise KpodError(f"config {path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise KpodError(f"config {path}: expected a mapping of settings")
    return raw


def _validated(raw: Mapping[str, Any]) -> RunConfig:
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(explain(e) for e in error.errors(include_url=False))
        raise KpodError(f"config: {problems}") from error
