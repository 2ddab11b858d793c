"""A run before anything of it is made: the names of its artifacts, and what must be there to start it.

Importing this module loads no torch and no Ray.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.models.sources import check_model
from kpod_ray.pipeline.fingerprints import name_artifacts
from kpod_ray.schedule.embedding_source import check_embedding
from kpod_ray.storage.artifacts import Artifact, Store
from kpod_ray.teacher import kinds
from kpod_ray.weighting.content import model_names

PHASES = ("questions", "teacher", "weigh", "assess", "plan", "train", "evaluate", "report")
"""In the order they run in; ``evaluate`` makes two artifacts, of the untouched student and ours."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A config with its store and the artifact of every phase."""

    config: RunConfig
    store: Store
    artifacts: Mapping[str, Artifact]
    """By phase; ``evaluate_before`` is the untouched student's evaluation."""

    @property
    def folder(self) -> str:
        """Folder of the run in the store."""
        return f"runs/{self.config.name}"


def open_run(config: RunConfig) -> Run:
    """Check what can be checked before anything starts, and name every artifact.

    Raises:
        KpodError: The storage can't be written, a file or a model isn't there.
    """
    check_models(config)
    _check_place(config.storage)
    run = name_run(config)
    Store.open(run.config.storage)
    return run


def name_run(config: RunConfig) -> Run:
    """Name every artifact of a run; nothing is checked, made or written.

    Raises:
        KpodError: A local file or model folder, whose content is part of a name, isn't there.
    """
    config = config.override({"storage": _absolute(config.storage)})
    store = Store.at(config.storage)
    return Run(config, store, name_artifacts(config, store))


def check_models(config: RunConfig) -> None:
    """Check, without loading anything, that the models of a config can be had.

    Raises:
        KpodError: A model isn't there, or is of a kind that its phase can't use.
    """
    models = {config.student.model, *model_names(config.weighting)}
    for model in sorted(models):
        check_model(model)
    kinds.check(config.teacher)
    check_embedding(config.schedule.embedding)


def _check_place(storage: str) -> None:
    """Refuse a relative storage in a Ray job.

    Raises:
        KpodError: The storage would lie in the job's folder.
    """
    if "://" in storage or Path(storage).expanduser().is_absolute():
        return
    from kpod_ray.cluster.connection import is_ray_job  # Ray loads only now

    if is_ray_job():
        raise KpodError(
            f"storage {storage} is relative, and a Ray job runs in a folder that is thrown away; "
            "give an absolute path, s3:// or gs://"
        )


def _absolute(storage: str) -> str:
    """Make a local storage absolute: the result is the same from any folder."""
    return storage if "://" in storage else str(Path(storage).expanduser().resolve())
