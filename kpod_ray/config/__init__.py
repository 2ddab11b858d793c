"""All settings of a run, as typed and frozen pydantic models. Defaults are defined only here.

A config is a YAML file, read by `load`. Importing this package loads neither torch nor Ray.
"""

from kpod_ray.config.base import Config
from kpod_ray.config.checkpoints import CheckpointsConfig, StudentCheckpointsConfig
from kpod_ray.config.comparison import ARMS, Arm, ComparisonConfig
from kpod_ray.config.questions import (
    ArithmeticQuestions,
    ColumnsConfig,
    FileQuestions,
    HubQuestions,
    QuestionsConfig,
    SplitConfig,
)
from kpod_ray.config.reading.overrides import parse_override
from kpod_ray.config.resources import (
    ActorResources,
    Placement,
    ResourcesConfig,
    StudentWorkerResources,
    WorkerResources,
)
from kpod_ray.config.run import RunConfig, TrackingConfig, load
from kpod_ray.config.schedule import ScheduleConfig
from kpod_ray.config.student import EvaluationConfig, LoraConfig, StudentConfig
from kpod_ray.config.sweep import OBJECTIVES, Domain, SweepConfig, Value
from kpod_ray.config.teacher import (
    EndpointTeacher,
    FileTeacher,
    FiltersConfig,
    GeneratingTeacher,
    PriceConfig,
    ReferenceTeacher,
    SamplesConfig,
    Selection,
    StepsConfig,
    TeacherBase,
    TeacherConfig,
    Template,
    VllmTeacher,
)
from kpod_ray.config.weighting import (
    FileWeighting,
    HandWeighting,
    LearnedWeighting,
    WeightingConfig,
)

__all__ = [
    "ARMS",
    "OBJECTIVES",
    "ActorResources",
    "ArithmeticQuestions",
    "Arm",
    "CheckpointsConfig",
    "ColumnsConfig",
    "ComparisonConfig",
    "Config",
    "Domain",
    "EndpointTeacher",
    "EvaluationConfig",
    "FileQuestions",
    "FileTeacher",
    "FileWeighting",
    "FiltersConfig",
    "GeneratingTeacher",
    "HandWeighting",
    "HubQuestions",
    "LearnedWeighting",
    "LoraConfig",
    "Placement",
    "PriceConfig",
    "QuestionsConfig",
    "ReferenceTeacher",
    "ResourcesConfig",
    "RunConfig",
    "SamplesConfig",
    "ScheduleConfig",
    "Selection",
    "SplitConfig",
    "StepsConfig",
    "StudentCheckpointsConfig",
    "StudentConfig",
    "StudentWorkerResources",
    "SweepConfig",
    "TeacherBase",
    "TeacherConfig",
    "Template",
    "TrackingConfig",
    "Value",
    "VllmTeacher",
    "WeightingConfig",
    "WorkerResources",
    "load",
    "parse_override",
]
