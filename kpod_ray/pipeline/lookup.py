"""Find an existing run, by its config or by its folder in the storage, to read or export it.

Nothing in this module writes to a storage, and importing this module loads neither torch nor Ray.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.fs as pafs

from kpod_ray.config import RunConfig, load
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.naming import name_run
from kpod_ray.pipeline.run_files import ARTIFACTS_FILE, CONFIG_FILE, artifact_folders
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.filesystems import check_answers, local_path, open_address, reason
from kpod_ray.storage.scratch import temporary_folder
from kpod_ray.storage.store import Store


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
        if not artifact.is_finished():
            raise KpodError(
                f"run {self.config.name}: phase {phase} isn't finished; "
                f"run kpod run {self.source} --until {phase}"
            )
        return artifact


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
    """
    if not is_run_folder(place):
        config = load(place, overrides)
        check_answers(config.storage)
        run = name_run(config)
        source = shlex.join([place, *overrides])
        return FinishedRun(source, run.store, run.folder, run.config, run.artifacts)
    if overrides:
        raise KpodError(
            f"run {place}: the settings of a folder can't be changed; give its config.yaml instead"
        )
    return _run_of_folder(place)


def is_run_folder(place: str) -> bool:
    """Return whether a run is given by its folder: an existing local folder or an address."""
    return "://" in place or os.path.isdir(os.path.expanduser(place))


def _run_of_folder(place: str) -> FinishedRun:
    """Return the run whose folder is given, with the artifacts of the storage around the folder.

    The storage that the config names isn't used: the storage may have been copied or moved.
    """
    check_answers(place)
    store, folder = _store_of(place)
    texts = [_text(place, store, f"{folder}/{name}") for name in (CONFIG_FILE, ARTIFACTS_FILE)]
    folders = artifact_folders(place, *texts)
    with temporary_folder() as temporary:
        file = temporary / CONFIG_FILE
        file.write_text(texts[0])
        config = load(file)
    artifacts = {
        name: Artifact(store, *artifact_folder.split("/"))
        for name, artifact_folder in folders.items()
    }
    source = store.address(f"{folder}/config.yaml") if store.is_local() else "CONFIG"
    return FinishedRun(source, store, folder, config, artifacts)


def _text(place: str, store: Store, path: str) -> str:
    """Return the text of a file in the folder of a run, or raise a `KpodError`."""
    try:
        if store.exists(path):
            return store.read_text(path)
    except (OSError, pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise KpodError(f"{store.address(path)} can't be read: {reason(error)}") from error
    raise KpodError(
        f"folder {place} holds no run; give runs/NAME inside a storage, or a YAML file of settings"
    )


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
        path = str(local_path(place).resolve())
    root, _, name = path.rstrip("/").rpartition("/")
    root, _, runs = root.rpartition("/")
    return Store(root, filesystem, scheme, place.partition("?")[2]), f"{runs}/{name}"
