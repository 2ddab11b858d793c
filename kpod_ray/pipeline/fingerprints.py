"""The fingerprint of each artifact: a hash of everything that determines the artifact's content.

Fingerprints follow from the config and the input files alone, not from results, so that the names of all
artifacts of a run are known before the first phase runs. Settings that don't change an artifact's
content (`resources`, `tracking`, `storage`) are left out: a run with other resources reuses the
artifacts.
"""

from __future__ import annotations

from typing import Any

from kpod_ray.config import RunConfig
from kpod_ray.models.sources import model_hash
from kpod_ray.questions.loading import content_hash as questions_hash
from kpod_ray.schedule.embedding_source import embedding_hash
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store
from kpod_ray.teacher import kinds
from kpod_ray.teacher.fingerprints import artifact_settings
from kpod_ray.weighting.content import content_hash as weighting_hash

SCHEMA_VERSION = 7
"""Version of the artifacts' content and files; a part of every fingerprint. Raise the number when the
content of any artifact changes for the same settings."""
_Contents = dict[str, tuple[list[str], dict[str, Any]]]
"""Name of an artifact -> names of the artifacts it is made from, and the other values that determine
it."""


def name_artifacts(config: RunConfig, store: Store) -> dict[str, Artifact]:
    """Return the artifact of every phase, named by its fingerprint.

    Local files and model folders are read to hash their content; the network and the storage aren't
    used.

    Args:
        config: config of the run.
        store: storage that holds the artifacts.

    Returns:
        Name -> artifact, in the order in which a run makes them. The name is the phase, except for
        ``evaluate_before``: the evaluation of the untouched student, an artifact of phase ``evaluate``.
        With ``evaluation.also`` there are three artifacts more: the further test sets
        (``questions_also``), and their evaluations (``evaluate_also_before``, ``evaluate_also``). Phase
        ``report`` has no artifact.

    Raises:
        KpodError: A local file of the config doesn't exist, is a folder or can't be read, or a local
            model folder doesn't exist or has no ``config.json``.
        OSError: A file in a local model folder can't be read.
    """
    artifacts = dict[str, Artifact]()
    contents = {**_questions(config), **_corpus(config), **_distillation(config)}
    # _Contents is ordered: the inputs of an artifact are named before the artifact
    for name, (inputs, content) in contents.items():
        phase = name.partition("_")[0]
        fingerprints = [artifacts[i].fingerprint for i in inputs]
        artifacts[name] = Artifact.of(store, phase, SCHEMA_VERSION, content, fingerprints)
    return artifacts


def _questions(config: RunConfig) -> _Contents:
    """Return what determines the artifacts of phase ``questions``."""
    questions = {
        "questions": config.questions.model_dump(),
        "content": questions_hash(config.questions),
        "seed": config.seed,
    }
    sets = {
        name: [source.model_dump(), questions_hash(source)]
        for name, source in config.evaluation.also.items()
    }
    also = {"questions_also": (["questions"], {"sets": sets, "seed": config.seed})} if sets else {}
    return {"questions": ([], questions), **also}


def _corpus(config: RunConfig) -> _Contents:
    """Return what determines the artifacts of the phases ``teacher`` and ``weigh``."""
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
        "reading": _tokenization(config),
        "seed": config.seed,
    }
    return {
        "teacher": (["questions"], teacher),
        "weigh": (["teacher"], weigh),
    }


def _distillation(config: RunConfig) -> _Contents:
    """Return what determines the artifacts of the phases ``assess`` to ``evaluate``."""
    student = config.student
    model = _model(config)
    assess = {
        "reading": _tokenization(config),
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
        # the length of answers matters to training only where training measures accuracy
        "answering": config.evaluation.max_new_tokens if student.accuracy_every_stages else None,
        "seed": config.training_seed,
    }
    writing = student.model_dump(include={"template", "precision"})
    evaluation = {
        "evaluation": config.evaluation.model_dump(exclude={"also"}) | writing,
        "steps": config.steps.model_dump(),  # of which the predictions tell the numbers
    }
    before = {**evaluation, "model": model}
    also: _Contents = {
        "evaluate_also_before": (["questions_also"], before),
        "evaluate_also": (["questions_also", "train"], evaluation),
    }
    return {
        "assess": (["teacher", "weigh"], assess),
        "plan": (["teacher", "assess"], plan),
        "train": (["assess", "plan"], train),
        "evaluate_before": (["questions"], before),
        "evaluate": (["questions", "train"], evaluation),
        **(also if config.evaluation.also else {}),
    }


def _model(config: RunConfig) -> dict[str, str]:
    """Return the name of the untouched student and a hash of its files."""
    return {"model": config.student.model, "hash": model_hash(config.student.model)}


def _tokenization(config: RunConfig) -> dict[str, str]:
    """Return what determines how texts become tokens: the student's tokenizer and its template."""
    return {**_model(config), "template": config.student.template}
