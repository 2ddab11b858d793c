"""Find an existing run, by its config or by its folder in the storage, to read or export it.

Nothing in this module writes to a storage, and importing this module loads neither torch nor Ray.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
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
from kpod_ray.storage.scratch import temporary_folder


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run that is read: its config, its storage and its artifacts, of which any may be unfinished."""

    source: str
    """Arguments of ``kpod run`` that run the unfinished phases: the config file and the overrides;
    ``CONFIG`` for a run that was found by its folder in an object store."""
    store: Store
    folder: str
    """Folder of the run's config and report, relative to the store's root; doesn't exist before the
    first phase."""
    config: RunConfig
    """Config of the run. If the run was found by its folder, ``config.storage`` may name another place
    than `store`: the storage may have been copied or moved."""
    artifacts: Mapping[str, Artifact]
    """Name -> artifact, see `name_artifacts`."""

    def finished(self, phase: str) -> Artifact:
        """Return the artifact of a finished phase; ``phase`` is a key of `artifacts`.

        Raises:
            KpodError: The phase isn't finished (the message names the command that runs the phase), or
                the storage can't be read.
        """
        artifact = self.artifacts[phase]
        with reading(self.source):
            is_finished = artifact.is_finished()
        if not is_finished:
            raise KpodError(
                f"run {self.config.name}: phase {phase} isn't finished; "
                f"run kpod run {self.source} --until {phase}"
            )
        return artifact


@contextlib.contextmanager
def reading(place: str) -> Iterator[None]:
    """Raise failures to read a run's files inside the block as `KpodError`.

    The block should only read and print: an error of these types with another cause becomes the same
    `KpodError`. Errors of other types, a `KpodError` too, pass unchanged.

    Args:
        place: the run as the user named it, for the message.

    Raises:
        KpodError: The block raised an `OSError` (a file or the storage can't be read), or a
            `ValueError`, `KeyError`, `AttributeError` or `TypeError` (a file is damaged).
    """
    try:
        yield
    except OSError as error:
        raise KpodError(f"run {place} can't be read: {reason(error)}") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:  # of JSON, Arrow or a field
        raise KpodError(
            f"run {place} can't be read: a file of the run is damaged ({error}); delete the file's "
            "folder and run kpod run again"
        ) from error


def find_run(place: str, overrides: Sequence[str] = ()) -> FinishedRun:
    """Find a run without making or changing anything; neither Ray nor the hub is used.

    A run that is found by its YAML file may never have been started. A run that is found by its folder
    has the artifacts that its last ``kpod run`` wrote down, in the storage around the folder.

    Args:
        place: the folder ``runs/NAME`` inside a storage (an existing local folder, with ``~`` expanded,
            or an address such as ``s3://...``); any other text is the path of a YAML file of settings.
        overrides: ``dotted.path=value`` texts that change settings of the YAML file.

    Raises:
        KpodError: The file doesn't exist or holds a wrong setting, `name_run` fails for its config, the
            folder can't be read or holds no run, another schema version wrote the folder, or overrides
            are given for a folder.
        OSError: As in `name_run`, for a YAML file.
    """
    with reading(place):
        is_folder = "://" in place or Path(place).expanduser().is_dir()
    if not is_folder:
        run = name_run(load(place, overrides))
        source = shlex.join([place, *overrides])
        return FinishedRun(source, run.store, run.folder, run.config, run.artifacts)
    if overrides:
        raise KpodError(
            f"run {place}: the settings of a folder can't be changed; give its config.yaml instead"
        )
    with reading(place):
        return _run_of_folder(place)


def _run_of_folder(place: str) -> FinishedRun:
    """Return the run whose folder is given, with the artifacts of the storage around the folder.

    The storage that the config names isn't used: the storage may have been copied or moved.
    """
    store, folder = _store_of(place)
    if not all(store.exists(f"{folder}/{name}") for name in ("config.yaml", "artifacts.json")):
        raise KpodError(
            f"folder {place} holds no run; give runs/NAME inside a storage, or a YAML file of settings"
        )
    folders = _artifact_folders(place, json.loads(store.read_text(f"{folder}/artifacts.json")))
    with temporary_folder() as temporary:
        file = temporary / "config.yaml"
        store.fetch(f"{folder}/config.yaml", file)
        config = load(file)
    artifacts = {
        name: Artifact(store, *artifact_folder.split("/"))
        for name, artifact_folder in folders.items()
    }
    source = store.address(f"{folder}/config.yaml") if store.is_local() else "CONFIG"
    return FinishedRun(source, store, folder, config, artifacts)


def _artifact_folders(place: str, content: Mapping[str, Any]) -> Mapping[str, str]:
    """Return name -> folder of a run's artifacts, from the content of ``artifacts.json``.

    Raises:
        KpodError: Another schema version wrote the run; the files inside its artifacts may differ.
    """
    found = content.get("schema_version", "3 or lower")
    if found != SCHEMA_VERSION:
        raise KpodError(
            f"run {place} was made by another version of kpod_ray (schema {found}, this one reads "
            f"{SCHEMA_VERSION}): make it anew with kpod run CONFIG, or read it with the version that "
            "made it"
        )
    folders: Mapping[str, str] = content["folders"]
    return folders


def _store_of(place: str) -> tuple[Store, str]:
    """Split the path or address of a run's folder into its storage and the folder inside the storage.

    Raises:
        KpodError: The address can't be opened.
    """
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
