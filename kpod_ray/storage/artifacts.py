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
    that write create missing parent folders and replace an existing file.
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
        """Return the store at a local path or an ``s3://`` or ``gs://`` address; write nothing.

        Args:
            uri: Local path, absolute or relative to the current folder, with ``~`` expanded; or an
                address. The folder need not exist.

        Raises:
            KpodError: The address contains a key, or names no file system that can be opened.
            RuntimeError: The path begins with ``~`` and the home folder is unknown.
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
        """Open the store at a local path or an ``s3://`` or ``gs://`` address; create the folder.

        A test file is written and deleted, to find missing permissions before the run starts. Missing
        parent folders are created, too; a missing bucket is an error.

        Args:
            uri: As in `at`.

        Raises:
            KpodError: The address contains a key, names no file system that can be opened, or the
                folder can't be reached or written.
            RuntimeError: The path begins with ``~`` and the home folder is unknown.
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
        """Return the artifact of a phase, finished or not. Equal arguments give the same artifact.

        The fingerprint is calculated from the arguments; nothing is read or written.

        Args:
            phase: Name of the phase, which is the name of the folder that holds the phase's artifacts.
            schema_version: Version of the artifacts' content.
            settings: JSON-serializable settings that determine the content; the order of keys is
                irrelevant.
            inputs: Fingerprints of the artifacts that the phase reads; the order is relevant.

        Raises:
            TypeError: A setting can't be written as JSON.
        """
        content = [phase, schema_version, dict(settings), inputs]
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        return Artifact(self, phase, fingerprint)

    def is_local(self) -> bool:
        """Return whether the store is on a local disk (or a mounted network disk)."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def exists(self, path: str) -> bool:
        """Return whether a file or folder exists at a path relative to the store's root.

        Raises:
            OSError: The storage fails.
        """
        info = self.filesystem.get_file_info(f"{self.root}/{path}")
        return info.type != pafs.FileType.NotFound

    def files(self, folder: str) -> list[str]:
        """Return the sorted names of the files in a folder, without temporary files and subfolders.

        A name has the file's ending and no folder. The list is empty if the folder doesn't exist. The
        folder is relative to the store's root.

        Raises:
            OSError: The storage fails.
        """
        selector = pafs.FileSelector(f"{self.root}/{folder}", allow_not_found=True)
        infos = self.filesystem.get_file_info(selector)
        names = (info.base_name for info in infos if info.type == pafs.FileType.File)
        return sorted(name for name in names if not name.endswith(_HALF_WRITTEN))

    def read_text(self, path: str) -> str:
        """Return the text of a UTF-8 file, whose path is relative to the store's root.

        Raises:
            FileNotFoundError: The file doesn't exist.
            OSError: The storage fails, or the path is a folder.
            UnicodeDecodeError: The file is not UTF-8.
        """
        with self.filesystem.open_input_stream(f"{self.root}/{path}") as stream:
            return stream.read().decode()

    def write_text(self, path: str, text: str) -> None:
        """Write a UTF-8 file as an atomic write: a failed call leaves the file as before the call.

        An existing file is replaced, and missing folders are created.

        Args:
            path: Path of the file, relative to the store's root.
            text: Content of the file.

        Raises:
            OSError: The storage fails, or the path is a folder.
            UnicodeEncodeError: The text holds half a surrogate pair.
        """
        with _Replacement(self, path) as stream:
            stream.write(text.encode())

    def read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """Return the table of a Parquet file, with all columns (None) or only those named.

        Args:
            path: Path of the file, relative to the store's root.
            columns: Names of the columns to read.

        Raises:
            FileNotFoundError: The file doesn't exist.
            OSError: The storage fails.
            pa.ArrowInvalid: The file is no complete Parquet file, or a named column doesn't exist.
        """
        with self.filesystem.open_input_file(f"{self.root}/{path}") as file:
            return pq.read_table(file, columns=columns)

    def write_table(self, path: str, table: pa.Table) -> None:
        """Write a Parquet file as an atomic write: a failed call leaves the file as before the call.

        An existing file is replaced, and missing folders are created.

        Args:
            path: Path of the file, relative to the store's root.
            table: Content of the file.

        Raises:
            OSError: The storage fails, or the path is a folder.
        """
        with _Replacement(self, path) as stream:
            pq.write_table(table, stream)

    def add_part(self, folder: str, table: pa.Table, prefix: str = "") -> str:
        """Write a table as one more Parquet file of a folder; return the file's name with ``.parquet``.

        The name is the prefix followed by random characters, without the folder. The folder is relative
        to the store's root and is created if missing. The file appears whole or not at all, and no other
        writer takes the name: many processes may add parts to a folder, whichever of them die.

        Raises:
            OSError: The storage fails.
        """
        name = f"{prefix}{uuid.uuid4().hex}.parquet"
        self.write_table(f"{folder}/{name}", table)
        return name

    def upload(self, file: Path, path: str) -> None:
        """Copy a local file into the store, and replace an existing file.

        In a store on a local disk the copy is an atomic write.

        Args:
            file: The local file.
            path: Path of the copy relative to the store's root, with the name of the copy.

        Raises:
            FileNotFoundError: The local file doesn't exist.
            OSError: The local file can't be read, or the storage fails.
        """
        with open(file, "rb") as source:
            if not self.is_local():  # the source is complete: no second local copy is needed
                _copy(source, self.filesystem, f"{self.root}/{path}")
                return
            with _Replacement(self, path) as stream:
                shutil.copyfileobj(source, stream, _BLOCK_BYTES)

    def fetch(self, path: str, file: Path) -> None:
        """Copy a file of the store to a local file, which is overwritten if it exists.

        The copy isn't an atomic write, and the folder of the local file must exist.

        Args:
            path: Path of the file in the store, relative to the store's root.
            file: The local file to write.

        Raises:
            FileNotFoundError: The file in the store or the local folder doesn't exist.
            OSError: The storage fails, or the local file can't be written.
        """
        source_path = f"{self.root}/{path}"
        with self.filesystem.open_input_stream(source_path) as source, open(file, "wb") as target:
            shutil.copyfileobj(source, target, _BLOCK_BYTES)

    def delete(self, path: str) -> None:
        """Delete a file, or a folder with all its content; do nothing if the path doesn't exist.

        The path is relative to the store's root.

        Raises:
            OSError: The storage fails.
        """
        full = f"{self.root}/{path}"
        kind = self.filesystem.get_file_info(full).type
        if kind == pafs.FileType.Directory:
            self.filesystem.delete_dir(full)
        elif kind != pafs.FileType.NotFound:
            self.filesystem.delete_file(full)

    def address(self, path: str) -> str:
        """Return the absolute local path, or the full address with scheme and options, of a path.

        The path is relative to the store's root; whether the path exists isn't checked.
        """
        if not self.scheme:
            return f"{self.root}/{path}"
        options = f"?{self.options}" if self.options else ""
        return f"{self.scheme}://{self.root}/{path}{options}"


@dataclasses.dataclass(frozen=True)
class Artifact:
    """The output folder of one phase for one fingerprint. The folder may not exist yet.

    The names of tables and JSON files that methods take have no ending and no folder.
    """

    store: Store
    phase: str
    """Name of the phase."""
    fingerprint: str
    """16 hexadecimal digits, see `Store.artifact`."""

    @property
    def folder(self) -> str:
        """Path of the folder relative to the store's root: ``<phase>/<fingerprint>``.

        The methods of `Store` take this path.
        """
        return f"{self.phase}/{self.fingerprint}"

    @property
    def path(self) -> str:
        """Absolute path of the folder inside the store's file system, without a scheme.

        For use with ``store.filesystem``; `Store.address` gives an address with a scheme.
        """
        return f"{self.store.root}/{self.folder}"

    def is_finished(self) -> bool:
        """Return whether the artifact has a manifest, which the storage is asked for in each call.

        Raises:
            OSError: The storage fails.
        """
        return self.store.exists(f"{self.folder}/manifest.json")

    def manifest(self) -> Manifest:
        """Return the manifest of a finished artifact: counts, seconds, versions, settings.

        The manifest is the mapping that `finish` wrote, with the values as JSON holds them.

        Raises:
            FileNotFoundError: The artifact isn't finished.
            OSError: The storage fails.
        """
        manifest: Manifest = json.loads(self.store.read_text(f"{self.folder}/manifest.json"))
        return manifest

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest as an atomic write, which marks the artifact as finished.

        Call `finish` once, after all other writes; an existing manifest is replaced.

        Args:
            manifest: JSON-serializable summary of the phase; the key ``phase`` is added.

        Raises:
            OSError: The storage fails.
            TypeError: A value can't be written as JSON.
        """
        text = json.dumps({"phase": self.phase, **manifest}, indent=2, ensure_ascii=False)
        self.store.write_text(f"{self.folder}/manifest.json", text)

    def read(self, name: str) -> pa.Table:
        """Return the whole table with this name (the file name without ``.parquet``).

        Raises:
            FileNotFoundError: The table doesn't exist.
            OSError: The storage fails.
            pa.ArrowInvalid: The file is no complete Parquet file.
        """
        return self.store.read_table(f"{self.folder}/{name}.parquet")

    def read_json(self, name: str) -> Any:
        """Return the value in the JSON file with this name (the file name without ``.json``).

        Raises:
            FileNotFoundError: The file doesn't exist.
            OSError: The storage fails.
            ValueError: The file is not JSON.
        """
        return json.loads(self.store.read_text(f"{self.folder}/{name}.json"))

    def write(self, name: str, table: pa.Table) -> None:
        """Write the table with this name (without ``.parquet``) as an atomic write.

        An existing table is replaced, and a missing folder is created. Whether the artifact is finished
        isn't checked.

        Raises:
            OSError: The storage fails.
        """
        self.store.write_table(f"{self.folder}/{name}.parquet", table)

    def batches(self, name: str, size: int) -> Iterator[pa.Table]:
        """Yield the table with this name in parts of at most ``size`` rows, in order.

        A table without rows has no parts. The file is opened when the iteration starts, and stays open
        during the iteration.

        Args:
            name: Name of the table, without ``.parquet``.
            size: Most rows of a part, at least 1.

        Raises:
            FileNotFoundError: The table doesn't exist.
            OSError: The storage fails.
            pa.ArrowInvalid: The file is no complete Parquet file.
        """
        path = f"{self.path}/{name}.parquet"
        with self.store.filesystem.open_input_file(path) as file, pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(size):
                yield pa.Table.from_batches([batch])

    @contextlib.contextmanager
    def writer(self, name: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
        """Return a context that writes the table with this name in several parts.

        The context yields a writer, whose ``write_table`` adds a part. The file appears, and replaces an
        existing table, when the context ends without an exception; otherwise nothing is written.

        Args:
            name: Name of the table, without ``.parquet``.
            schema: Schema that all parts have.

        Raises:
            OSError: The storage fails.
            ValueError: A part has another schema; raised by ``write_table`` of the writer.
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
