"""Runs that are looked at or exported: found by their config, or by their folder in the storage."""

from __future__ import annotations

import dataclasses
import json
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from kpod_ray.config import RunConfig, load
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.fingerprints import SCHEMA_VERSION
from kpod_ray.pipeline.naming import name_run
from kpod_ray.storage.artifacts import Artifact, Store
from kpod_ray.storage.filesystems import open_address, reason


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run of which some phases are finished."""

    source: str
    """What ``kpod run`` takes to make its phases: a config and overrides."""
    store: Store
    folder: str
    """Folder of the run's config and report in the store; missing before the first phase."""
    config: RunConfig
    artifacts: Mapping[str, Artifact]
    """By phase; not all of them need be finished."""

    def finished(self, phase: str) -> Artifact:
        """Return the artifact of a phase.

        Raises:
            KpodError: The phase isn't finished.
        """
        artifact = self.artifacts[phase]
        if not artifact.is_finished():
            raise KpodError(
                f"run {self.config.name}: phase {phase} isn't finished; "
                f"run kpod run {self.source} --until {phase}"
            )
        return artifact


def find_run(place: str, overrides: Sequence[str] = ()) -> FinishedRun:
    """Find a run; nothing of it is made or changed.

    Args:
        place: a YAML file of settings, or the folder ``runs/NAME`` of a storage, a path or an address.
        overrides: ``dotted.path=value``, of the settings in a file.

    Raises:
        KpodError: There is no such run, its settings are wrong, or a folder has overrides.
    """
    if "://" not in place and not Path(place).expanduser().is_dir():
        run = name_run(load(place, overrides))
        source = shlex.join([place, *overrides])
        return FinishedRun(source, run.store, run.folder, run.config, run.artifacts)
    if overrides:
        raise KpodError(
            f"run {place}: the settings of a folder can't be changed; give its config.yaml instead"
        )
    return _run_of_folder(place)


def _run_of_folder(place: str) -> FinishedRun:
    """Read what a run left in its folder; the storage may have been moved since."""
    store, folder = _store_of(place)
    if not all(store.exists(f"{folder}/{name}") for name in ("config.yaml", "artifacts.json")):
        raise KpodError(
            f"folder {place} holds no run; give runs/NAME inside a storage, or a YAML file of settings"
        )
    folders = _artifact_folders(place, json.loads(store.read_text(f"{folder}/artifacts.json")))
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "config.yaml"
        store.fetch(f"{folder}/config.yaml", file)
        config = load(file)
    artifacts = {
        name: Artifact(store, *artifact_folder.split("/"))
        for name, artifact_folder in folders.items()
    }
    source = store.address(f"{folder}/config.yaml") if store.is_local() else "CONFIG"
    return FinishedRun(source, store, folder, config, artifacts)


def _artifact_folders(place: str, told: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the folders of a run's artifacts; the layout of files differs between schema versions.

    Raises:
        KpodError: Another version of kpod_ray wrote the run.
    """
    found = told.get("schema_version", "3 or lower")
    if found != SCHEMA_VERSION:
        raise KpodError(
            f"run {place} was made by another version of kpod_ray (schema {found}, this one reads "
            f"{SCHEMA_VERSION}): make it anew with kpod run CONFIG, or read it with the version that "
            "made it"
        )
    folders: Mapping[str, str] = told["folders"]
    return folders


def _store_of(place: str) -> tuple[Store, str]:
    """Return the storage of a run's folder, which isn't written to, and the folder inside it."""
    scheme, separator, _ = place.partition("://")
    if separator:
        try:
            filesystem, path = open_address(place)
        except (OSError, pa.ArrowInvalid) as error:
            raise KpodError(f"folder {place} can't be read: {reason(error)}") from error
    else:
        scheme, filesystem = "", pafs.LocalFileSystem()
        path = str(Path(place).expanduser().resolve())
    root, _, name = path.rstrip("/").rpartition("/")
    root, _, runs = root.rpartition("/")
    return Store(root, filesystem, scheme, place.partition("?")[2]), f"{runs}/{name}"
