"""The settings of a run: the root of all groups, and loading from YAML files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from kpod_ray.config.base import Config, Line, Seed
from kpod_ray.config.comparison import ComparisonConfig
from kpod_ray.config.questions import ArithmeticQuestions, QuestionsConfig
from kpod_ray.config.reading.explain import explain_all
from kpod_ray.config.reading.keys import refuse_keys
from kpod_ray.config.reading.overrides import merged, parse_override, replaced
from kpod_ray.config.reading.strict_yaml import MAX_BYTES, YamlError, read_yaml
from kpod_ray.config.resources import ResourcesConfig, check_parallel
from kpod_ray.config.schedule import ScheduleConfig
from kpod_ray.config.student import EvaluationConfig, StudentConfig
from kpod_ray.config.sweep import SweepConfig
from kpod_ray.config.teacher import StepsConfig, TeacherConfig, VllmTeacher
from kpod_ray.config.weighting import LearnedWeighting, WeightingConfig, with_default_kind
from kpod_ray.errors import KpodError

WandbName = Annotated[Line, Field(max_length=128, pattern=r"^[^/\\#?%:]+$")]
"""Name that W&B accepts."""


class TrackingConfig(Config):
    """Weights & Biases (W&B)."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """Where metrics are logged. ``auto`` is ``online`` with an API key and ``offline`` without one,
    unless the variable ``WANDB_MODE`` is ``offline`` or ``disabled``. ``online`` also writes files on
    this machine."""
    entity: WandbName | None = None
    """W&B team or user; None takes the variable ``WANDB_ENTITY``, or else the owner of the API key."""
    project: WandbName = "kpod"
    """W&B project."""
    group: Annotated[Line, Field(max_length=128)] | None = None
    """W&B group, such as the name of a sweep; None is no group."""


class RunConfig(Config):
    """One distillation run, from questions to a trained and evaluated student."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """Name of the run: at most 100 letters, digits, ``.``, ``_`` and ``-``."""
    storage: Line = "~/kpod_runs"
    """Folder of all results: a local path, or an ``s3://`` or ``gs://`` address."""
    seed: Seed = 0
    """Seed of all random numbers."""
    questions: QuestionsConfig = ArithmeticQuestions()
    """Source of the questions."""
    teacher: TeacherConfig
    """Source of the rationales."""
    steps: StepsConfig = StepsConfig()
    """How rationales are split into reasoning steps."""
    weighting: WeightingConfig | None = LearnedWeighting()
    """Source of the token weights: a learned token weighter, a file, or a rule. None gives all tokens
    the weight 1."""
    schedule: ScheduleConfig = ScheduleConfig()
    """The progressive schedule (Eq. 10 to 13)."""
    student: StudentConfig
    """The student and its training."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation of the student on the test questions."""
    comparison: ComparisonConfig = ComparisonConfig()
    """Comparison of methods (``kpod compare``)."""
    sweep: SweepConfig = SweepConfig()
    """Sweep over settings (``kpod sweep``)."""
    resources: ResourcesConfig = ResourcesConfig()
    """Machines, processors and processes of the phases. These settings change no result."""
    tracking: TrackingConfig = TrackingConfig()
    """Weights & Biases (W&B)."""

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, settings: Any) -> Any:
        if isinstance(settings, Mapping):
            refuse_keys(settings)
        return settings

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
        """Seed of the student's training: ``student.seed``, or else ``seed``."""
        return self.seed if self.student.seed is None else self.student.seed

    def override(self, overrides: Mapping[str, Any]) -> RunConfig:
        """Return a validated copy with the values at dotted paths replaced.

        Args:
            overrides: Dotted path -> value, such as ``{"student.learning_rate": 3e-5}``. A mapping is
                merged into its group, unless it names another kind of the group.

        Raises:
            KpodError: A path names no setting or leads through a value, a value is not allowed, or
                settings don't fit together.
        """
        return _validated(replaced(self.model_dump(), overrides.items()))


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file, apply overrides and validate the result.

    The key ``base`` of a file names one or more base files, relative to the file; a base may have bases.
    The file's settings have priority over those of its bases, and later bases over earlier ones. No file
    or model that a setting names is looked up.

    Args:
        path: YAML file; ``~`` isn't expanded.
        overrides: Overrides ``dotted.path=value``, later ones over earlier ones. A mapping is merged
            into its group, as in `merged`.

    Raises:
        KpodError: A file can't be read, is not a YAML mapping, or is its own base; an override can't be
            parsed or leads through a value; a key is unknown or missing; a value is not allowed; or
            settings don't fit together.
    """
    raw = _read_layers(Path(path), ())
    if "weighting" in raw:
        raw["weighting"] = with_default_kind(raw["weighting"])
    return _validated(replaced(raw, [parse_override(text) for text in overrides]))


def _read_layers(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """Return the settings of a file merged over its bases.

    ``above`` holds the files whose bases lead to this file, to find a file that is its own base.
    """
    if path.resolve() in above:
        raise KpodError(f"config {path}: the file is its own base; remove it from the key base")
    top = _read(path)
    layers: dict[str, Any] = {}
    for base in _bases(path, top.pop("base", [])):
        layers = merged(layers, _read_layers(path.parent / base, (*above, path.resolve())))
    if "weighting" in layers:  # a file over its bases may name the kind that a base leaves out
        layers["weighting"] = with_default_kind(layers["weighting"])
    return merged(layers, top)


def _bases(path: Path, value: object) -> list[str]:
    bases: list[Any] = value if isinstance(value, list) else [value]
    for base in bases:
        if not isinstance(base, str):
            raise KpodError(f"config {path}: base: expected a file or a list of files (got {base})")
    return bases


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise YamlError(f"larger than {MAX_BYTES:,} bytes; give a YAML file of settings")
        raw = read_yaml(content.decode("utf-8-sig"))
        if not isinstance(raw, dict):
            raise YamlError("expected a mapping of settings, such as name: my-run")
    except OSError as error:
        raise KpodError(f"config {path}: {error.strerror}; give a YAML file of settings") from error
    except UnicodeDecodeError as error:
        raise KpodError(f"config {path}: not UTF-8; save the file as UTF-8") from error
    except ValueError as error:  # also of a path with a NUL character
        raise KpodError(f"config {path}: {error}") from error
    return raw


def _validated(raw: Mapping[str, Any]) -> RunConfig:
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        problems = explain_all(error.errors(include_url=False), RunConfig)
        raise KpodError(f"config: {problems}") from error
