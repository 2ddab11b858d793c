"""The files ``config.yaml`` and ``artifacts.json`` of a run, by which `find_run` finds the run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from kpod_ray.config.reading.strict_yaml import write_yaml
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.fingerprints import SCHEMA_VERSION
from kpod_ray.pipeline.naming import PHASES, Run
from kpod_ray.questions.further import FURTHER_ARTIFACTS
from kpod_ray.storage.checksums import sealed, unsealed

CONFIG_FILE, ARTIFACTS_FILE = "config.yaml", "artifacts.json"
_NAMES = {*PHASES, "evaluate_before"} - {"report"}
_FOLDER = re.compile(r"[a-z]+/[0-9a-f]{16}")


def write_run_files(run: Run) -> None:
    """Write both files of a run; existing files are replaced.

    ``artifacts.json`` holds the schema version, the folder of each artifact, the checksum of
    ``config.yaml``, and a checksum of its own.

    Raises:
        OSError: The storage can't be written.
    """
    config = write_yaml(run.config.model_dump())
    run.store.write_text(f"{run.folder}/{CONFIG_FILE}", config)
    folders = {name: artifact.folder for name, artifact in run.artifacts.items()}
    content = {
        "schema_version": SCHEMA_VERSION,
        "folders": folders,
        "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
    }
    run.store.write_text(f"{run.folder}/{ARTIFACTS_FILE}", sealed(content))


def artifact_folders(place: str, config: str, text: str) -> Mapping[str, str]:
    """Return name -> folder of a run's artifacts, from the content of both files.

    Args:
        place: folder of the run, for messages.
        config: content of ``config.yaml``.
        text: content of ``artifacts.json``.

    Raises:
        KpodError: A file was changed, or another schema version wrote the run; the files inside its
            artifacts may differ.
    """
    content = _version_checked(place, text)
    try:
        unsealed(text)
        folders = content["folders"]
        is_run = set(folders) in (_NAMES, _NAMES | set(FURTHER_ARTIFACTS))
        if not is_run or not all(map(_FOLDER.fullmatch, folders.values())):
            raise ValueError("not the artifacts of a run")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damage(place, ARTIFACTS_FILE, str(error)) from error
    if hashlib.sha256(config.encode()).hexdigest() != content.get("config_sha256"):
        raise _damage(place, CONFIG_FILE, "changed since the run")
    return folders


def _version_checked(place: str, text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damage(place, ARTIFACTS_FILE, "no JSON") from error
    if not isinstance(content, dict):
        raise _damage(place, ARTIFACTS_FILE, "no mapping")
    found = content.get("schema_version", "3 or lower")
    if found != SCHEMA_VERSION:
        raise KpodError(
            f"run {place} was made by another version of kpod_ray (schema {found}, this one reads "
            f"{SCHEMA_VERSION}): make it anew with kpod run CONFIG, or read it with the version that "
            "made it"
        )
    return content


def _damage(place: str, name: str, fault: str) -> KpodError:
    return KpodError(
        f"run {place}: its {name} is damaged ({fault}); kpod run CONFIG writes the file again"
    )
