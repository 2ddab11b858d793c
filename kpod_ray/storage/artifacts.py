"""The artifact store: one folder a phase and fingerprint, finished when its manifest is there.

A fingerprint hashes what determines the content: the phase's settings, its inputs' fingerprints and
its schema version. ``manifest.json`` is written last and atomically. A folder with one is never done
again; a folder without one is continued.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from kpod_ray.errors import KpodError
from kpod_ray.storage.filesystems import open_address, reason

_HALF_WRITTEN = ".tmp"
"""Ends the name of a file under way; a writer that is killed leaves one behind."""
_SPOOL_BYTES = 1 << 26
"""What is under way to an object store is kept in memory up to this size, and then on a disk."""
_BLOCK_BYTES = 1 << 24
Manifest = dict[str, Any]
"""What a phase says of its result: at least ``counts``, how many rows went where."""


@dataclasses.dataclass(frozen=True)
class Store:
    """A folder on a local disk or an object store."""

    root: str
    """Absolute path inside the file system."""
    filesystem: pafs.FileSystem
    scheme: str = ""
    """``s3``, ``gs`` and the like; empty for a local disk."""
    options: str = ""
    """What stands behind the ``?`` of its address."""

    @classmethod
    def open(cls, uri: str) -> Store:
        """Open, and make if needed, the store at a path or ``s3://``, ``gs://`` address.

        Raises:
            KpodError: It can't be reached or written.
        """
        try:
            scheme, separator, rest = uri.partition("://")
            if separator:
                filesystem, root = open_address(uri)
                store = cls(root, filesystem, scheme, rest.partition("?")[2])
            else:
                store = cls(str(Path(uri).expanduser().resolve()), pafs.LocalFileSystem())
            filesystem, root = store.filesystem, store.root
            filesystem.create_dir(root, recursive=True)
            probe = f".write-test-{uuid.uuid4().hex}"
            store.write_text(probe, "")
            filesystem.delete_file(f"{root}/{probe}")
        except (OSError, pa.ArrowInvalid) as error:
            raise KpodError(f"storage {uri} can't be written: {reason(error)}") from error
        return store

    def artifact(
        self, phase: str, schema_version: int, settings: Mapping[str, Any], inputs: list[str]
    ) -> Artifact:
        """Return the artifact of a phase: the same arguments give the same folder."""
        content = [phase, schema_version, dict(settings), inputs]
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        return Artifact(self, phase, fingerprint)

    def is_local(self) -> bool:
        """Whether the store is a folder of this machine."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there; the path is relative to the root."""
        info = self.filesystem.get_file_info(f"{self.root}/{path}")
        return info.type != pafs.FileType.NotFound

    def files(self, folder: str) -> list[str]:
        """Return the names of the whole files in a folder, sorted; none if it is missing."""
        selector = pafs.FileSelector(f"{self.root}/{folder}", allow_not_found=True)
        infos = self.filesystem.get_file_info(selector)
        names = (info.base_name for info in infos if info.type == pafs.FileType.File)
        return sorted(name for name in names if not name.endswith(_HALF_WRITTEN))

    def read_text(self, path: str) -> str:
        """Return a file's text."""
        with self.filesystem.open_input_stream(f"{self.root}/{path}") as stream:
            return stream.read().decode()

    def write_text(self, path: str, text: str) -> None:
        """Write a file: afterwards it holds the whole text, or what it held before."""
        with _Replacement(self, path) as stream:
            stream.write(text.encode())

    def read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """Read one Parquet file, or some of its columns."""
        with self.filesystem.open_input_file(f"{self.root}/{path}") as file:
            return pq.read_table(file, columns=columns)

    def write_table(self, path: str, table: pa.Table) -> None:
        """Write one Parquet file: afterwards it holds the whole table, or what it held before."""
        with _Replacement(self, path) as stream:
            pq.write_table(table, stream)

    def upload(self, file: Path, path: str) -> None:
        """Copy a local file into the store."""
        with open(file, "rb") as source:
            if not self.is_local():
                _copy(source, self.filesystem, f"{self.root}/{path}")
                return
            with _Replacement(self, path) as stream:
                shutil.copyfileobj(source, stream, _BLOCK_BYTES)

    def fetch(self, path: str, file: Path) -> None:
        """Copy a file of the store to a local file."""
        source_path = f"{self.root}/{path}"
        with self.filesystem.open_input_stream(source_path) as source, open(file, "wb") as target:
            shutil.copyfileobj(source, target, _BLOCK_BYTES)

    def delete(self, path: str) -> None:
        """Delete a file or a folder with all it holds, if it is there."""
        full = f"{self.root}/{path}"
        kind = self.filesystem.get_file_info(full).type
        if kind == pafs.FileType.Directory:
            self.filesystem.delete_dir(full)
        elif kind != pafs.FileType.NotFound:
            self.filesystem.delete_file(full)

    def address(self, path: str) -> str:
        """Return what opens a file or folder from anywhere: a local path or a full address."""
        if not self.scheme:
            return f"{self.root}/{path}"
        options = f"?{self.options}" if self.options else ""
        return f"{self.scheme}://{self.root}/{path}{options}"


@dataclasses.dataclass(frozen=True)
class Artifact:
    """The results of one phase for one fingerprint."""

    store: Store
    phase: str
    fingerprint: str

    @property
    def folder(self) -> str:
        """Path relative to the store's root."""
        return f"{self.phase}/{self.fingerprint}"

    @property
    def path(self) -> str:
        """Path inside the store's file system."""
        return f"{self.store.root}/{self.folder}"

    def is_finished(self) -> bool:
        """Whether the manifest is there."""
        return self.store.exists(f"{self.folder}/manifest.json")

    def manifest(self) -> Manifest:
        """Return the manifest of a finished artifact: counts, seconds, versions, settings."""
        manifest: Manifest = json.loads(self.store.read_text(f"{self.folder}/manifest.json"))
        return manifest

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, after everything else: from now on the artifact never changes."""
        text = json.dumps({"phase": self.phase, **manifest}, indent=2, ensure_ascii=False)
        self.store.write_text(f"{self.folder}/manifest.json", text)

    def read(self, name: str) -> pa.Table:
        """Read the table of that name."""
        return self.store.read_table(f"{self.folder}/{name}.parquet")

    def write(self, name: str, table: pa.Table) -> None:
        """Write the table of that name, whole or not at all."""
        self.store.write_table(f"{self.folder}/{name}.parquet", table)

    def batches(self, name: str, size: int) -> Iterator[pa.Table]:
        """Yield the table of that name in order, at most ``size`` rows at a time."""
        path = f"{self.path}/{name}.parquet"
        with self.store.filesystem.open_input_file(path) as file, pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(size):
                yield pa.Table.from_batches([batch])

    @contextlib.contextmanager
    def writer(self, name: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
        """Write the table of that name piece by piece; it appears when all is well at the end."""
        path = f"{self.folder}/{name}.parquet"
        with _Replacement(self.store, path) as stream, pq.ParquetWriter(stream, schema) as writer:
            yield writer


class _Replacement:
    """A stream whose content takes a file's place on success and vanishes on failure."""

    def __init__(self, store: Store, path: str) -> None:
        self.store = store
        self.target = f"{store.root}/{path}"
        self.temporary = f"{self.target}.{uuid.uuid4().hex}{_HALF_WRITTEN}"

    def __enter__(self) -> IO[bytes]:
        if not self.store.is_local():  # a stream of the object store would show what it has got
            self.stream: IO[bytes] = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)
            return self.stream
        self.store.filesystem.create_dir(os.path.dirname(self.target), recursive=True)
        self.stream = self.store.filesystem.open_output_stream(self.temporary)
        return self.stream

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        finish = self._rename if self.store.is_local() else self._send
        try:
            finish(error_type is None)
        finally:
            self.stream.close()

    def _send(self, is_whole: bool) -> None:
        if is_whole:
            self.stream.seek(0)
            _copy(self.stream, self.store.filesystem, self.target)

    def _rename(self, is_whole: bool) -> None:
        try:
            self.stream.close()
            if is_whole:
                with open(self.temporary, "rb+") as file:
                    os.fsync(file.fileno())
                os.replace(self.temporary, self.target)
        finally:
            Path(self.temporary).unlink(missing_ok=True)


def _copy(source: IO[bytes], filesystem: pafs.FileSystem, target: str) -> None:
    with filesystem.open_output_stream(target) as stream:
        while block := source.read(_BLOCK_BYTES):
            stream.write(block)
