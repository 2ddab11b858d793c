"""Runs that are looked at or exported: found by their config, or by their folder in the storage."""

from __future__ import annotations

import dataclasses
import json
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from kpod_ray.config import RunConfig, load
from kpod_ray.errors import KpodError
from kpod_ray.storage.artifacts import Artifact, Store
from kpod_ray.storage.filesystems import open_address, reason


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run of which some phases are finished."""

    source: str
    """What ``kpod PHASE`` takes to make its phases: a config and overrides."""
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
                f"run {self.config.name}: phase {phase} isn't finished; run kpod {phase} {self.source}"
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
        from kpod_ray.pipeline.run import open_run  # Ray and torch load only now

        run = open_run(load(place, overrides))
        return FinishedRun(shlex.join([place, *overrides]), run.config, run.artifacts)
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
    folders: dict[str, str] = json.loads(store.read_text(f"{folder}/artifacts.json"))
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "config.yaml"
        store.fetch(f"{folder}/config.yaml", file)
        config = load(file)
    artifacts = {
        name: Artifact(store, *artifact_folder.split("/"))
        for name, artifact_folder in folders.items()
    }
    source = store.address(f"{folder}/config.yaml") if store.is_local() else "CONFIG"
    return FinishedRun(source, config, artifacts)


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
