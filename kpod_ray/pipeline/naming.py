"""Name the artifacts of a run, and check before the first phase what can be checked.

Naming (`name_run`) and checking (`open_run`, `check_models`) are separate because comparisons and sweeps
name many runs that need no further check. Importing this module loads neither torch nor Ray.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.models.check import check_model
from kpod_ray.models.folder_check import ModelUse
from kpod_ray.pipeline.fingerprints import name_artifacts
from kpod_ray.schedule.embedding_source import check_embedding
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.filesystems import check_answers, local_path
from kpod_ray.storage.store import Store
from kpod_ray.teacher import kinds
from kpod_ray.weighting.content import model_names

PHASES = ("questions", "teacher", "weigh", "assess", "plan", "train", "evaluate", "report")
"""Phases in the order in which they run. Phase ``evaluate`` makes two artifacts: ``evaluate_before``
of the untouched student, and ``evaluate`` of the distilled student; ``report`` makes none."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A config with its store and its named artifacts, which may or may not be finished."""

    config: RunConfig
    """Config whose ``storage`` is an absolute path or an address."""
    store: Store
    artifacts: Mapping[str, Artifact]
    """Name -> artifact, see `name_artifacts`."""

    @property
    def folder(self) -> str:
        """Folder of the run's config and report, relative to the store's root: ``runs/NAME``."""
        return f"runs/{self.config.name}"


def checked_run(config: RunConfig) -> Run:
    """Check the files and the models of a config and that its storage answers; name every artifact.

    Nothing is written. The network is used for models on the hub and for a storage at an address.

    Raises:
        KpodError: `check_models` or `name_run` fails, the storage doesn't answer, or the storage is a
            relative path and the process is a Ray job.
    """
    check_models(config)
    check_storage(config.storage)
    return name_run(config)


def open_run(config: RunConfig) -> Run:
    """Check the storage, the files and the models of a config, and name every artifact.

    The folder of the storage is created, and a test file in it is written and deleted. The network is
    used for models on the hub and for a storage at an address. The config of the returned run has an
    absolute storage.

    Raises:
        KpodError: `checked_run` fails, or the storage can't be written.
    """
    run = checked_run(config)
    Store.open(run.config.storage)
    return run


def name_run(config: RunConfig) -> Run:
    """Name every artifact of a run; nothing is written, and the storage isn't looked up.

    Local files and model folders of the config are read, because their content is a part of the names.
    The returned run has a copy of the config, in which a local storage is absolute, with ``~`` expanded.

    Raises:
        KpodError: The address of the storage contains a key or names no file system, a file that the
            config names can't be read, or a condition of `name_artifacts` holds.
    """
    config = config.override({"storage": _absolute(config.storage)})
    store = Store.at(config.storage)
    try:
        return Run(config, store, name_artifacts(config, store))
    except OSError as error:
        raise KpodError(f"a file that the config names can't be read: {error}") from error


def check_models(config: RunConfig) -> None:
    """Check every model that a config names, without loading one; see `check_model`.

    The models are those of the student, the weighting, a vLLM teacher and ``schedule.embedding``. The
    ``config.json`` of a hub model that isn't cached is downloaded.

    Raises:
        KpodError: A model can't be used for its phase, or the file of word vectors doesn't exist.
    """
    check_student(config)
    check_predictor(config)
    kinds.check(config.teacher)
    check_embedding(config.schedule.embedding)


def check_student(config: RunConfig) -> None:
    """Check the untouched student of a config, see `check_model`."""
    check_model(config.student.model, ModelUse("student", config.student.template))


def check_predictor(config: RunConfig) -> None:
    """Check the models that only the weighting of a config loads, see `check_model`."""
    for model in sorted(model_names(config.weighting)):
        check_model(model, ModelUse("student"))


def check_storage(storage: str) -> None:
    """Check that a storage answers, see `check_answers`, and that it outlasts a Ray job.

    Raises:
        KpodError: The storage doesn't answer, or it is a relative path and the process is a Ray job.
    """
    _check_storage_of_job(storage)
    check_answers(storage)


def _check_storage_of_job(storage: str) -> None:
    """Refuse a relative storage in a Ray job, whose working directory Ray deletes after the job."""
    if "://" in storage or local_path(storage).is_absolute():
        return
    from kpod_ray.cluster.connection import is_ray_job  # imported here because the import loads Ray

    if is_ray_job():
        raise KpodError(
            f"storage {storage} is relative, and a Ray job runs in a folder that is thrown away; "
            "give an absolute path, s3:// or gs://"
        )


def _absolute(storage: str) -> str:
    """Return a local storage as an absolute path, which workers in other directories can use."""
    return storage if "://" in storage else str(local_path(storage).resolve())
