"""The artifact store: one folder for each phase and fingerprint, in local or object storage.

A fingerprint is a hash of everything that determines the content of an artifact. A folder with
``manifest.json``, which a phase writes last, is finished; a run continues the work in any other folder.
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
from kpod_ray.storage.plain_tables import check_plain

_HALF_WRITTEN = ".tmp"
"""Suffix of the temporary files of atomic writes; a killed writer leaves its file."""
_SPOOL_BYTES = 1 << 26
"""A file for an object store is buffered in memory up to this size, then on the local disk."""
_BLOCK_BYTES = 1 << 24  # of one read while a file is copied
Manifest = dict[str, Any]
"""Summary of a finished phase; the key ``counts`` holds the number of rows by what became of them."""


@dataclasses.dataclass(frozen=True)
class Store:
    """A folder on a local disk or in object storage, which holds all artifacts.

    Paths and folders that methods take are relative to the root. Methods that write create missing
    parent folders and replace existing files. A missing file raises `FileNotFoundError`, a failing
    storage `OSError`, an incomplete Parquet file `pa.ArrowInvalid`.
    """

    root: str
    """Absolute path of the folder inside the file system."""
    filesystem: pafs.FileSystem
    scheme: str = ""
    """Scheme of the address, such as ``s3`` or ``gs``; empty for a local disk."""
    options: str = ""
    """Query part of the address, after the ``?``."""

    @classmethod
    def at(cls, uri: str) -> Store:
        """Return the store at a local path or an ``s3://`` or ``gs://`` address, which need not exist.

        Raises:
            KpodError: The address contains a key, or names no file system that can be opened.
        """
        scheme, separator, rest = uri.partition("://")
        if not separator:
            return cls(str(Path(uri).expanduser().resolve()), pafs.LocalFileSystem())
        try:
            filesystem, root = open_address(uri)
        except (OSError, pa.ArrowInvalid) as error:
            raise KpodError(f"storage {uri} can't be opened: {reason(error)}") from error
        return cls(root, filesystem, scheme, rest.partition("?")[2])

    @classmethod
    def open(cls, uri: str) -> Store:
        """Open the store at a local path or an address; create the folder, and test writing to it.

        Raises:
            KpodError: The address contains a key, or the storage can't be opened, created or written.
        """
        store = cls.at(uri)
        try:
            store.filesystem.create_dir(store.root, recursive=True)
            probe = f".write-test-{uuid.uuid4().hex}"
            store.write_text(probe, "")
            store.filesystem.delete_file(f"{store.root}/{probe}")
        except (OSError, pa.ArrowInvalid) as error:
            raise KpodError(f"storage {uri} can't be written: {reason(error)}") from error
        return store

    def artifact(
        self, phase: str, schema_version: int, settings: Mapping[str, Any], inputs: list[str]
    ) -> Artifact:
        """Return the artifact of a phase, finished or not; nothing is read or written.

        The fingerprint is a hash of all arguments: JSON-serializable ``settings``, in any order of keys,
        and ``inputs``, the fingerprints of the artifacts that the phase reads, in their order.
        """
        content = [phase, schema_version, dict(settings), inputs]
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        return Artifact(self, phase, fingerprint)

    def is_local(self) -> bool:
        """Return whether the store is on a local disk (or a mounted network disk)."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def exists(self, path: str) -> bool:
        """Return whether a file or folder exists at a path in the store."""
        info = self.filesystem.get_file_info(f"{self.root}/{path}")
        return info.type != pafs.FileType.NotFound

    def files(self, folder: str) -> list[str]:
        """Return the sorted file names in a folder of the store, not temporary ones; [] if missing."""
        selector = pafs.FileSelector(f"{self.root}/{folder}", allow_not_found=True)
        infos = self.filesystem.get_file_info(selector)
        names = (info.base_name for info in infos if info.type == pafs.FileType.File)
        return sorted(name for name in names if not name.endswith(_HALF_WRITTEN))

    def read_text(self, path: str) -> str:
        """Return the text of the UTF-8 file at a path in the store, or raise `FileNotFoundError`."""
        with self.filesystem.open_input_stream(f"{self.root}/{path}") as stream:
            return stream.read().decode()

    def write_text(self, path: str, text: str) -> None:
        """Write a UTF-8 file to a path in the store; the atomic write replaces an existing file."""
        with _Replacement(self, path) as stream:
            stream.write(text.encode())

    def read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """Return the table in a Parquet file of the store, with all columns (None) or the named ones."""
        with self.filesystem.open_input_file(f"{self.root}/{path}") as file:
            table = pq.read_table(file, columns=columns)
        check_plain(table.schema, self.address(path))
        return table

    def write_table(self, path: str, table: pa.Table) -> None:
        """Write a Parquet file to a path in the store; the atomic write replaces an existing file."""
        with _Replacement(self, path) as stream:
            pq.write_table(table, stream)

    def add_part(self, folder: str, table: pa.Table, prefix: str = "") -> str:
        """Write a table as a new Parquet file in a folder, as an atomic write; return the file's name.

        The name is the prefix, random characters and ``.parquet``: many processes may add files to a
        folder.
        """
        name = f"{prefix}{uuid.uuid4().hex}.parquet"
        self.write_table(f"{folder}/{name}", table)
        return name

    def upload(self, file: Path, path: str) -> None:
        """Copy a local file to a path in the store; the copy is an atomic write only on a local disk."""
        with open(file, "rb") as source:
            if not self.is_local():  # the source is complete: no second local copy is needed
                _copy(source, self.filesystem, f"{self.root}/{path}")
                return
            with _Replacement(self, path) as stream:
                shutil.copyfileobj(source, stream, _BLOCK_BYTES)

    def fetch(self, path: str, file: Path) -> None:
        """Copy a file of the store to a local file, whose folder must exist; the copy isn't atomic."""
        source_path = f"{self.root}/{path}"
        with self.filesystem.open_input_stream(source_path) as source, open(file, "wb") as target:
            shutil.copyfileobj(source, target, _BLOCK_BYTES)

    def delete(self, path: str) -> None:
        """Delete a file or whole folder of the store; do nothing if the path doesn't exist."""
        full = f"{self.root}/{path}"
        kind = self.filesystem.get_file_info(full).type
        if kind == pafs.FileType.Directory:
            self.filesystem.delete_dir(full)
        elif kind != pafs.FileType.NotFound:
            self.filesystem.delete_file(full)

    def address(self, path: str) -> str:
        """Return the absolute local path, or the full address, of a path in the store."""
        if not self.scheme:
            return f"{self.root}/{path}"
        options = f"?{self.options}" if self.options else ""
        return f"{self.scheme}://{self.root}/{path}{options}"


@dataclasses.dataclass(frozen=True)
class Artifact:
    """The output folder of one phase for one fingerprint. The folder may not exist yet.

    The names of tables and JSON files that methods take have no ending. Errors are those of `Store`.
    """

    store: Store
    phase: str
    fingerprint: str
    """16 hexadecimal digits, see `Store.artifact`."""

    @property
    def folder(self) -> str:
        """Path of the folder relative to the root of the store: ``<phase>/<fingerprint>``."""
        return f"{self.phase}/{self.fingerprint}"

    @property
    def path(self) -> str:
        """Absolute path of the folder inside ``store.filesystem``, without a scheme."""
        return f"{self.store.root}/{self.folder}"

    def is_finished(self) -> bool:
        """Return whether the artifact has a manifest; every call asks the storage."""
        return self.store.exists(f"{self.folder}/manifest.json")

    def manifest(self) -> Manifest:
        """Return the manifest of a finished artifact; raise `FileNotFoundError` if it's unfinished."""
        manifest: Manifest = json.loads(self.store.read_text(f"{self.folder}/manifest.json"))
        return manifest

    def finish(self, manifest: Manifest) -> None:
        """Mark the artifact as finished by its manifest; call this method after all other writes.

        The manifest is JSON-serializable; the key ``phase`` is added. The write is atomic.
        """
        text = json.dumps({"phase": self.phase, **manifest}, indent=2, ensure_ascii=False)
        self.store.write_text(f"{self.folder}/manifest.json", text)

    def read(self, name: str) -> pa.Table:
        """Return the whole table ``name`` (no ``.parquet``), or raise `FileNotFoundError`."""
        return self.store.read_table(f"{self.folder}/{name}.parquet")

    def read_json(self, name: str) -> Any:
        """Return the value in the JSON file ``name`` (no ``.json``), or raise `FileNotFoundError`."""
        return json.loads(self.store.read_text(f"{self.folder}/{name}.json"))

    def write(self, name: str, table: pa.Table) -> None:
        """Write the table ``name`` (no ``.parquet``); the atomic write replaces an existing table."""
        self.store.write_table(f"{self.folder}/{name}.parquet", table)

    def batches(self, name: str, size: int) -> Iterator[pa.Table]:
        """Yield the table ``name`` (without ``.parquet``) in order, in parts of 1 to ``size`` rows.

        The iteration opens the file, or raises `FileNotFoundError`. An empty table yields nothing.
        """
        path = f"{self.path}/{name}.parquet"
        with self.store.filesystem.open_input_file(path) as file, pq.ParquetFile(file) as parquet:
            check_plain(parquet.schema_arrow, path)
            for batch in parquet.iter_batches(size):
                yield pa.Table.from_batches([batch])

    @contextlib.contextmanager
    def writer(self, name: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
        """Return a context that writes the table ``name`` (without ``.parquet``) in several parts.

        ``write_table`` of the context's writer adds a part with the given schema. The file replaces an
        existing one when the context ends without an exception; otherwise nothing is written.
        """
        path = f"{self.folder}/{name}.parquet"
        with _Replacement(self.store, path) as stream, pq.ParquetWriter(stream, schema) as writer:
            yield writer


class _Replacement:
    """A context with a stream for an atomic write of one file; an exception discards the content.

    A local file is written under a temporary name, flushed to the disk and renamed. A file for object
    storage is buffered locally and uploaded at the end.
    """

    def __init__(self, store: Store, path: str) -> None:
        self.store = store
        self.target = f"{store.root}/{path}"
        self.temporary = f"{self.target}.{uuid.uuid4().hex}{_HALF_WRITTEN}"

    def __enter__(self) -> IO[bytes]:
        if not self.store.is_local():
            # Closing a stream of an object store publishes the bytes written so far, also when an
            # exception closes the stream. Nothing is sent before the content is complete.
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

    def _send(self, is_complete: bool) -> None:
        if is_complete:
            self.stream.seek(0)
            _copy(self.stream, self.store.filesystem, self.target)

    def _rename(self, is_complete: bool) -> None:
        try:
            self.stream.close()
            if is_complete:
                # Without fsync, a crash of the machine after the rename could leave an empty file.
                with open(self.temporary, "rb+") as file:
                    os.fsync(file.fileno())
                os.replace(self.temporary, self.target)
        finally:
            Path(self.temporary).unlink(missing_ok=True)


def _copy(source: IO[bytes], filesystem: pafs.FileSystem, target: str) -> None:
    with filesystem.open_output_stream(target) as stream:
        while block := source.read(_BLOCK_BYTES):
            stream.write(block)
