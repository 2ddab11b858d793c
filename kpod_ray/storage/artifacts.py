"""The artifact store: one folder for each phase and fingerprint, in local or object storage.

A fingerprint is a hash of everything that determines the content of an artifact: the settings of the
phase, the fingerprints of its inputs and the schema version. A phase writes ``manifest.json`` last, as
an atomic write. A folder with a manifest is finished and never computed again; a run continues the work
in a folder without a manifest.
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
"""Suffix of temporary files of atomic writes; a writer that is killed leaves its temporary file."""
_SPOOL_BYTES = 1 << 26
"""Most bytes of a file for an object store that are buffered in memory; a larger file is buffered on
the local disk."""
_BLOCK_BYTES = 1 << 24
"""Bytes of one read while a file is copied."""
Manifest = dict[str, Any]
"""Summary of a finished phase; the key ``counts`` holds the number of rows by what became of them."""


@dataclasses.dataclass(frozen=True)
class Store:
    """A folder on a local disk or in object storage, which holds all artifacts.

    Paths and folders that methods take are relative to the root, with ``/`` between the parts. Methods
    that write create missing parent folders. Methods that read or write raise `OSError` if the storage
    fails.
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

        Nothing is written. In a local path, ``~`` is expanded.

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
        """Open the store at a local path or an ``s3://`` or ``gs://`` address; create its folder.

        A test file is written and deleted, to find missing permissions before the run starts. Missing
        parent folders are created, too, but no bucket. In a local path, ``~`` is expanded.

        Raises:
            KpodError: The address contains a key or names no file system that can be opened, or the
                folder or its bucket can't be reached or written.
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

        Equal arguments give the same artifact: its fingerprint is a hash of the arguments.

        Args:
            phase: Name of the phase, which is also the folder of the phase's artifacts.
            schema_version: Version of the artifacts' content.
            settings: JSON-serializable settings that determine the content; the order of keys is
                irrelevant.
            inputs: Fingerprints of the artifacts that the phase reads; the order is relevant.
        """
        content = [phase, schema_version, dict(settings), inputs]
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        return Artifact(self, phase, fingerprint)

    def is_local(self) -> bool:
        """Return whether the store is on a local disk (or a mounted network disk)."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def exists(self, path: str) -> bool:
        """Return whether a file or folder exists at a path relative to the store's root."""
        info = self.filesystem.get_file_info(f"{self.root}/{path}")
        return info.type != pafs.FileType.NotFound

    def files(self, folder: str) -> list[str]:
        """Return the sorted names, with endings, of the files in a folder relative to the store's root.

        Subfolders and temporary files of atomic writes are left out. A missing folder gives an empty
        list.
        """
        selector = pafs.FileSelector(f"{self.root}/{folder}", allow_not_found=True)
        infos = self.filesystem.get_file_info(selector)
        names = (info.base_name for info in infos if info.type == pafs.FileType.File)
        return sorted(name for name in names if not name.endswith(_HALF_WRITTEN))

    def read_text(self, path: str) -> str:
        """Return the text of a UTF-8 file, whose path is relative to the store's root.

        Raises:
            FileNotFoundError: The file doesn't exist.
            UnicodeDecodeError: The file is not UTF-8.
        """
        with self.filesystem.open_input_stream(f"{self.root}/{path}") as stream:
            return stream.read().decode()

    def write_text(self, path: str, text: str) -> None:
        """Write a UTF-8 file, whose path is relative to the store's root, and replace an existing file.

        The write is atomic: a failed call leaves the file as before the call. Missing folders are
        created.

        Raises:
            UnicodeEncodeError: The text holds half a surrogate pair.
        """
        with _Replacement(self, path) as stream:
            stream.write(text.encode())

    def read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """Return the table of a Parquet file, whose path is relative to the store's root.

        Only the named columns are read; None reads all columns.

        Raises:
            FileNotFoundError: The file doesn't exist.
            pa.ArrowInvalid: The file is no complete Parquet file, or a named column doesn't exist.
        """
        with self.filesystem.open_input_file(f"{self.root}/{path}") as file:
            return pq.read_table(file, columns=columns)

    def write_table(self, path: str, table: pa.Table) -> None:
        """Write a Parquet file at a path relative to the store's root, and replace an existing file.

        The write is atomic: a failed call leaves the file as before the call. Missing folders are
        created.
        """
        with _Replacement(self, path) as stream:
            pq.write_table(table, stream)

    def add_part(self, folder: str, table: pa.Table, prefix: str = "") -> str:
        """Write a table as a new Parquet file in a folder, and return the file's name with ``.parquet``.

        The name is the prefix followed by random characters, so that several processes can add files to
        one folder. The write is atomic. The folder is relative to the store's root.
        """
        name = f"{prefix}{uuid.uuid4().hex}.parquet"
        self.write_table(f"{folder}/{name}", table)
        return name

    def upload(self, file: Path, path: str) -> None:
        """Copy a local file to a path relative to the store's root, and replace an existing file.

        The copy is an atomic write only in a store on a local disk.

        Raises:
            FileNotFoundError: The local file doesn't exist.
        """
        with open(file, "rb") as source:
            if not self.is_local():  # the source is complete: no second local copy is needed
                _copy(source, self.filesystem, f"{self.root}/{path}")
                return
            with _Replacement(self, path) as stream:
                shutil.copyfileobj(source, stream, _BLOCK_BYTES)

    def fetch(self, path: str, file: Path) -> None:
        """Copy the file at a path relative to the store's root to a local file, which is overwritten.

        The copy isn't an atomic write, and the folder of the local file must exist.

        Raises:
            FileNotFoundError: The file in the store or the local folder doesn't exist.
        """
        source_path = f"{self.root}/{path}"
        with self.filesystem.open_input_stream(source_path) as source, open(file, "wb") as target:
            shutil.copyfileobj(source, target, _BLOCK_BYTES)

    def delete(self, path: str) -> None:
        """Delete the file, or the folder with all its content, at a path relative to the store's root.

        Nothing happens if the path doesn't exist.
        """
        full = f"{self.root}/{path}"
        kind = self.filesystem.get_file_info(full).type
        if kind == pafs.FileType.Directory:
            self.filesystem.delete_dir(full)
        elif kind != pafs.FileType.NotFound:
            self.filesystem.delete_file(full)

    def address(self, path: str) -> str:
        """Return the absolute path or address of ``path``, which is relative to the store's root.

        The result is a path for a local disk, otherwise an address with scheme and options. Whether the
        path exists isn't checked.
        """
        if not self.scheme:
            return f"{self.root}/{path}"
        options = f"?{self.options}" if self.options else ""
        return f"{self.scheme}://{self.root}/{path}{options}"


@dataclasses.dataclass(frozen=True)
class Artifact:
    """The output folder of one phase for one fingerprint. The folder may not exist yet.

    The names of tables and JSON files that methods take have no ending and no folder. Methods that read
    or write raise `OSError` if the storage fails.
    """

    store: Store
    phase: str
    """Name of the phase."""
    fingerprint: str
    """16 hexadecimal digits, see `Store.artifact`."""

    @property
    def folder(self) -> str:
        """Path of the folder relative to the root of the store: ``<phase>/<fingerprint>``."""
        return f"{self.phase}/{self.fingerprint}"

    @property
    def path(self) -> str:
        """Absolute path of the folder inside ``store.filesystem``, without a scheme.

        `Store.address` gives an address with a scheme.
        """
        return f"{self.store.root}/{self.folder}"

    def is_finished(self) -> bool:
        """Return whether the artifact has a manifest; every call asks the storage."""
        return self.store.exists(f"{self.folder}/manifest.json")

    def manifest(self) -> Manifest:
        """Return the manifest of a finished artifact, as `finish` wrote it.

        Raises:
            FileNotFoundError: The artifact isn't finished.
        """
        manifest: Manifest = json.loads(self.store.read_text(f"{self.folder}/manifest.json"))
        return manifest

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, which marks the artifact as finished, after all other writes.

        The write is atomic. An existing manifest is replaced.

        Args:
            manifest: JSON-serializable summary of the phase; the method adds the key ``phase``.
        """
        text = json.dumps({"phase": self.phase, **manifest}, indent=2, ensure_ascii=False)
        self.store.write_text(f"{self.folder}/manifest.json", text)

    def read(self, name: str) -> pa.Table:
        """Return the whole table with this name (the file name without ``.parquet``).

        Raises:
            FileNotFoundError: The table doesn't exist.
            pa.ArrowInvalid: The file is no complete Parquet file.
        """
        return self.store.read_table(f"{self.folder}/{name}.parquet")

    def read_json(self, name: str) -> Any:
        """Return the value in the JSON file with this name (the file name without ``.json``).

        Raises:
            FileNotFoundError: The file doesn't exist.
            ValueError: The file is not JSON.
        """
        return json.loads(self.store.read_text(f"{self.folder}/{name}.json"))

    def write(self, name: str, table: pa.Table) -> None:
        """Write the table with this name (without ``.parquet``), and replace an existing table.

        The write is atomic. Whether the artifact is finished isn't checked.
        """
        self.store.write_table(f"{self.folder}/{name}.parquet", table)

    def batches(self, name: str, size: int) -> Iterator[pa.Table]:
        """Yield the table ``name`` (without ``.parquet``) in order, in parts of 1 to ``size`` rows.

        A table without rows yields nothing. The file is opened, and errors are raised, during the
        iteration.

        Raises:
            FileNotFoundError: The table doesn't exist.
            pa.ArrowInvalid: The file is no complete Parquet file.
        """
        path = f"{self.path}/{name}.parquet"
        with self.store.filesystem.open_input_file(path) as file, pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(size):
                yield pa.Table.from_batches([batch])

    @contextlib.contextmanager
    def writer(self, name: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
        """Return a context that writes the table ``name`` (without ``.parquet``) in several parts.

        The context yields a writer, whose ``write_table`` adds a part with the given schema, and raises
        `ValueError` for another schema. The file appears, and replaces an existing table, when the
        context ends without an exception; otherwise nothing is written.
        """
        path = f"{self.folder}/{name}.parquet"
        with _Replacement(self.store, path) as stream, pq.ParquetWriter(stream, schema) as writer:
            yield writer


class _Replacement:
    """A context with a stream for an atomic write of one file.

    A local file is written under a temporary name, flushed to the disk and renamed. A file for object
    storage is buffered locally and uploaded at the end. If the context ends with an exception, the
    content is discarded.
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
