"""What determines the content of each artifact.

The fingerprint of an artifact follows from the config alone, so that all of them are known before
anything runs.
"""

from __future__ import annotations

from typing import Any

from kpod_ray.config import RunConfig
from kpod_ray.models.sources import model_hash
from kpod_ray.questions.loading import content_hash as questions_hash
from kpod_ray.schedule.embedding_source import embedding_hash
from kpod_ray.storage.artifacts import Artifact, Store
from kpod_ray.teacher import kinds
from kpod_ray.teacher.fingerprints import artifact_settings
from kpod_ray.weighting.content import content_hash as weighting_hash

SCHEMA_VERSION = 4
"""Raised when the content of any artifact changes for the same settings."""
_Contents = dict[str, tuple[list[str], dict[str, Any]]]
"""By artifact: those that it is made of, and what else determines it."""


def name_artifacts(config: RunConfig, store: Store) -> dict[str, Artifact]:
    """Name the artifact of every phase by what determines its content."""
    made = dict[str, Artifact]()
    for name, (inputs, content) in {**_corpus(config), **_distillation(config)}.items():
        phase, fingerprints = name.removesuffix("_before"), [made[i].fingerprint for i in inputs]
        made[name] = store.artifact(phase, SCHEMA_VERSION, content, fingerprints)
    return made


def _corpus(config: RunConfig) -> _Contents:
    questions = {
        "questions": config.questions.model_dump(),
        "content": questions_hash(config.questions),
        "seed": config.seed,
    }
    teacher = {
        "teacher": artifact_settings(config.teacher),
        "content": kinds.content_hash(config.teacher),
        "steps": config.steps.model_dump(),
        "seed": config.seed,
    }
    weigh = {
        "weighting": config.weighting and config.weighting.model_dump(),
        "content": weighting_hash(config.weighting),
        "steps": config.steps.model_dump(),
        "reading": _reading(config),
        "seed": config.seed,
    }
    return {
        "questions": ([], questions),
        "teacher": (["questions"], teacher),
        "weigh": (["teacher"], weigh),
    }


def _distillation(config: RunConfig) -> _Contents:
    student, model = config.student, _model(config)
    assess = {
        "reading": _reading(config),
        **student.model_dump(include={"kernels", "max_length", "overlength", "precision"}),
    }
    plan = {
        "schedule": config.schedule.model_dump(),
        "validation_fraction": student.validation_fraction,
        "embedding": embedding_hash(config.schedule.embedding),
        "model": model,
        "seed": config.seed,
    }
    train = {
        "student": student.model_dump(exclude={"seed"}),
        "answering": config.evaluation.max_new_tokens if student.accuracy_every_stages else None,
        "seed": config.training_seed,
    }
    writing = student.model_dump(include={"template", "precision"})
    evaluation = {"evaluation": config.evaluation.model_dump() | writing}
    return {
        "assess": (["teacher", "weigh"], assess),
        "plan": (["teacher", "assess"], plan),
        "train": (["assess", "plan"], train),
        "evaluate_before": (["questions"], {**evaluation, "model": model}),
        "evaluate": (["questions", "train"], evaluation),
    }


def _model(config: RunConfig) -> dict[str, str]:
    """Return what identifies the untouched student."""
    return {"model": config.student.model, "hash": model_hash(config.student.model)}


def _reading(config: RunConfig) -> dict[str, str]:
    """Return what determines how texts are read as tokens."""
    return {**_model(config), "template": config.student.template}
