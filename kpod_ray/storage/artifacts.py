"""The artifacts of phases: one folder of the store for each phase and fingerprint.

A fingerprint is a hash of everything that determines the content of an artifact. A folder with
``manifest.json``, which a phase writes last, is finished; a run continues the work in any other folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from kpod_ray.errors import KpodError
from kpod_ray.storage.atomic_write import HALF_WRITTEN, AtomicWrite
from kpod_ray.storage.checksums import (
    UNREADABLE,
    FileSum,
    are_sums,
    faults,
    file_names,
    file_sums,
    sealed,
    unsealed,
)
from kpod_ray.storage.filesystems import reason
from kpod_ray.storage.plain_tables import check_plain
from kpod_ray.storage.store import Store

Manifest = dict[str, Any]
"""Summary of a finished phase; the key ``counts`` holds the number of rows by what became of them."""
MANIFEST = "manifest.json"
"""Name of the file in an artifact's folder that marks the artifact as finished."""
FOREIGN = "isn't in the manifest"
"""Fault of a file that was put into the folder of a finished artifact."""


@dataclasses.dataclass(frozen=True)
class Artifact:
    """The output folder of one phase for one fingerprint. The folder may not exist yet.

    The manifest of a finished artifact holds size and checksum of every file. Methods that read a file
    compare it with the manifest first; the files of an unfinished artifact are read as they are. The
    names of tables and JSON files that methods take have no ending.

    A file that is missing, was changed or can't be read is a `KpodError` that names the file and says
    how to remake it. A failing write is an `OSError`.
    """

    store: Store
    phase: str
    fingerprint: str
    """16 hexadecimal digits, see `Artifact.of`."""

    @classmethod
    def of(
        cls,
        store: Store,
        phase: str,
        schema_version: int,
        settings: Mapping[str, Any],
        inputs: list[str],
    ) -> Artifact:
        """Return the artifact of a phase in a store, finished or not; nothing is read or written.

        The fingerprint is a hash of all arguments but the store: JSON-serializable ``settings``, in any
        order of keys, and ``inputs``, the fingerprints of the artifacts that the phase reads, in their
        order.
        """
        content = [phase, schema_version, dict(settings), inputs]
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        return cls(store, phase, hashlib.sha256(text.encode()).hexdigest()[:16])

    @property
    def folder(self) -> str:
        """Path of the folder relative to the root of the store: ``<phase>/<fingerprint>``."""
        return f"{self.phase}/{self.fingerprint}"

    @property
    def path(self) -> str:
        """Absolute path of the folder inside ``store.filesystem``, without a scheme."""
        return f"{self.store.root}/{self.folder}"

    def exists(self) -> bool:
        """Return whether the folder exists; in a folder without a manifest, a phase was begun."""
        with self._reading(""):
            return self.store.exists(self.folder)

    def is_finished(self) -> bool:
        """Return whether the artifact has a manifest; every call asks the storage."""
        with self._reading(MANIFEST):
            if self.store.exists(f"{self.folder}/{MANIFEST}"):
                return True
            folders = (self.phase, self.folder) if self.store.is_local() else ()
            paths = [f"{self.store.root}/{folder}" for folder in folders]
            for info in self.store.filesystem.get_file_info(paths):
                if info.type not in (pafs.FileType.Directory, pafs.FileType.NotFound):
                    raise KpodError(f"{info.path} isn't a folder; delete it")
            return False

    def manifest(self) -> Manifest:
        """Return the manifest of a finished artifact, without the checksums of the files."""
        content = self._sealed_manifest()
        return {key: content[key] for key in content if key not in ("folder", "files")}

    def finish(self, manifest: Manifest, confirm: Callable[[], object] = lambda: None) -> None:
        """Mark the artifact as finished by its manifest; call this method after all other writes.

        The manifest is JSON-serializable; the key ``phase`` is added, and in the file the keys
        ``folder``, ``files`` and ``checksum``. All files of the artifact are read for their checksums.
        The write is atomic. ``confirm`` is called right before; its exceptions leave the artifact
        unfinished (see `Lease.confirm`).
        """
        names = [name for name in self._whole_files() if name != MANIFEST]
        files = file_sums(self.store.filesystem, self.path, names)
        text = sealed({"phase": self.phase, **manifest, "folder": self.folder, "files": files})
        confirm()
        self.store.write_text(f"{self.folder}/{MANIFEST}", text)

    def files(self) -> dict[str, FileSum]:
        """Return name -> size and checksum of the files of a finished artifact, from its manifest."""
        files: dict[str, FileSum] = self._sealed_manifest()["files"]
        return files

    def check(self) -> None:
        """Check the files of a finished artifact, of those in subfolders only the sizes."""
        files = self.files()
        self._refuse_damage(files, [name for name in files if "/" not in name])

    def check_folder(self, name: str) -> None:
        """Check the files in a subfolder of a finished artifact, such as a student, by reading them.

        A file that isn't in the manifest is refused, too: a model's folder is loaded by its file names.
        """
        files = {file: s for file, s in self.files().items() if file.startswith(f"{name}/")}
        if not files:
            raise self._damage(name, "has no files")
        self._refuse_damage(files, files)
        for file in self.foreign_files():
            if file.startswith(f"{name}/"):
                address = self.store.address(f"{self.folder}/{file}")
                raise KpodError(f"{address} {FOREIGN}; delete the file")

    def faults(self) -> dict[str, str]:
        """Return name -> fault of every file of a finished artifact that isn't as it was written.

        All files are read. A fault is a phrase to stand behind the name, such as ``is missing``.
        """
        files = self.files()
        with self._reading(""):
            return dict(faults(self.store.filesystem, self.path, files, files))

    def foreign_files(self) -> list[str]:
        """Return the names of the files in a finished artifact's folder that its manifest lacks."""
        known = {MANIFEST, *self.files()}
        with self._reading(""):
            return [name for name in self._whole_files() if name not in known]

    def has(self, name: str) -> bool:
        """Return whether the artifact has the table ``name``; a lost table of a finished one counts."""
        if self.is_finished():
            return f"{name}.parquet" in self.files()
        return self.store.exists(f"{self.folder}/{name}.parquet")

    def read(self, name: str) -> pa.Table:
        """Return the whole table ``name`` (no ``.parquet``)."""
        file = self._checked(f"{name}.parquet")
        with self._reading(file):
            return self.store.read_table(f"{self.folder}/{file}")

    def read_json(self, name: str) -> Any:
        """Return the value in the JSON file ``name`` (no ``.json``)."""
        file = self._checked(f"{name}.json")
        with self._reading(file):
            return json.loads(self.store.read_text(f"{self.folder}/{file}"))

    def write(self, name: str, table: pa.Table) -> None:
        """Write the table ``name`` (no ``.parquet``); the atomic write replaces an existing table."""
        self.store.write_table(f"{self.folder}/{name}.parquet", table)

    def batches(self, name: str, size: int) -> Iterator[pa.Table]:
        """Yield the table ``name`` (without ``.parquet``) in order, in parts of 1 to ``size`` rows.

        The iteration opens the file. An empty table yields nothing.
        """
        name = self._checked(f"{name}.parquet")
        path = f"{self.path}/{name}"
        with (
            self._reading(name),
            self.store.filesystem.open_input_file(path) as file,
            pq.ParquetFile(file) as parquet,
        ):
            check_plain(parquet.schema_arrow, path)
            for batch in parquet.iter_batches(size):
                yield pa.Table.from_batches([batch])

    @contextlib.contextmanager
    def writer(self, name: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
        """Return a context that writes the table ``name`` (without ``.parquet``) in several parts.

        ``write_table`` of the context's writer adds a part with the given schema. The file replaces an
        existing one when the context ends without an exception; otherwise nothing is written.
        """
        file = AtomicWrite(self.store.filesystem, f"{self.path}/{name}.parquet")
        with file as stream, pq.ParquetWriter(stream, schema) as writer:
            yield writer

    def _whole_files(self) -> list[str]:
        """Return the names of all files in the folder but those of writers under way or killed."""
        names = file_names(self.store.filesystem, self.path)
        return [name for name in names if not name.endswith(HALF_WRITTEN)]

    def _sealed_manifest(self) -> Manifest:
        """Return the content of the manifest's file without the checksum of the file itself."""
        with self._reading(MANIFEST):
            content = unsealed(self.store.read_text(f"{self.folder}/{MANIFEST}"))
        if content.get("folder") != self.folder:
            raise self._damage(MANIFEST, f"belongs to {content.get('folder')}")
        if not are_sums(content.get("files")):
            raise self._damage(MANIFEST, "has no checksums")
        return content

    def _checked(self, file: str) -> str:
        """Return the name of a file; of a finished artifact, the file is compared with the manifest."""
        if self.is_finished():
            files = self.files()
            if file not in files:
                raise self._damage(file, "is missing")
            self._refuse_damage({file: files[file]}, [file])
        return file

    def _refuse_damage(self, files: Mapping[str, FileSum], read: Collection[str]) -> None:
        """Raise a `KpodError` for the first of the files that isn't as it was written, see `faults`."""
        with self._reading(""):
            for name, fault in faults(self.store.filesystem, self.path, files, read):
                raise self._damage(name, fault)

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        """Raise the errors of reading a file as a `KpodError`; the name is empty for the folder."""
        try:
            yield
        except FileNotFoundError as error:
            raise self._damage(name, "is missing") from error
        except OSError as error:
            raise self._damage(name, f"{UNREADABLE}: {reason(error)}") from error
        except (pa.ArrowException, ValueError) as error:  # of JSON, UTF-8 or a checksum
            raise self._damage(name, f"is damaged ({reason(error)})") from error

    def _damage(self, name: str, fault: str) -> KpodError:
        folder = self.store.address(self.folder)
        address = self.store.address(f"{self.folder}/{name}".rstrip("/"))
        advice = f"delete the folder {folder}, and kpod run makes it again"
        return KpodError(
            f"{address} {fault}" if fault.startswith(UNREADABLE) else f"{address} {fault}; {advice}"
        )
