"""The store: a folder on a local disk or in object storage that holds all artifacts."""

from __future__ import annotations

import dataclasses
import os
import shutil
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from kpod_ray.errors import KpodError
from kpod_ray.storage.atomic_write import BLOCK_BYTES, HALF_WRITTEN, AtomicWrite, send
from kpod_ray.storage.filesystems import local_path, open_address, reason
from kpod_ray.storage.plain_tables import check_plain


@dataclasses.dataclass(frozen=True)
class Store:
    """A folder on a local disk or in object storage.

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
            return cls(str(local_path(uri).resolve()), pafs.LocalFileSystem())
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

    def check_writable(self) -> None:
        """Check that a local store may be written, by the permissions of the nearest existing folder.

        Nothing is written or made. Of an object store, nothing is known before a write.

        Raises:
            KpodError: The folder can't be written.
        """
        if not self.is_local():
            return
        folder = Path(self.root)
        while not os.path.exists(folder):  # Path.exists raises without permission
            folder = folder.parent
        if not folder.is_dir():
            raise KpodError(f"storage {self.root} can't be written: {folder} is no folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise KpodError(
                f"storage {self.root} can't be written: {folder} is read-only for this user"
            )

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
        return sorted(name for name in names if not name.endswith(HALF_WRITTEN))

    def folders(self, folder: str) -> list[str]:
        """Return the sorted names of the folders in a folder of the store; [] if it is missing."""
        selector = pafs.FileSelector(f"{self.root}/{folder}", allow_not_found=True)
        infos = self.filesystem.get_file_info(selector)
        return sorted(info.base_name for info in infos if info.type == pafs.FileType.Directory)

    def read_text(self, path: str) -> str:
        """Return the text of the UTF-8 file at a path in the store, or raise `FileNotFoundError`."""
        with self.filesystem.open_input_stream(self._file(path)) as stream:
            return stream.read().decode()

    def write_text(self, path: str, text: str) -> None:
        """Write a UTF-8 file to a path in the store; the atomic write replaces an existing file."""
        with AtomicWrite(self.filesystem, f"{self.root}/{path}") as stream:
            stream.write(text.encode())

    def read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """Return the table in a Parquet file of the store, with all columns (None) or the named ones."""
        with self.filesystem.open_input_file(self._file(path)) as file:
            table = pq.read_table(file, columns=columns)
        check_plain(table.schema, self.address(path))
        return table

    def write_table(self, path: str, table: pa.Table) -> None:
        """Write a Parquet file to a path in the store; the atomic write replaces an existing file."""
        with AtomicWrite(self.filesystem, f"{self.root}/{path}") as stream:
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
        """Copy a local file to a path in the store; the copy is an atomic write only on a local disk.

        In an object store, a copy that fails deletes the file that it was to replace.
        """
        with open(file, "rb") as source:
            if not self.is_local():  # the source is complete: no second local copy is needed
                send(source, self.filesystem, f"{self.root}/{path}")
                return
            with AtomicWrite(self.filesystem, f"{self.root}/{path}") as stream:
                shutil.copyfileobj(source, stream, BLOCK_BYTES)

    def fetch(self, path: str, file: Path) -> None:
        """Copy a file of the store to a local file, whose folder must exist; the copy isn't atomic."""
        source_path = self._file(path)
        with self.filesystem.open_input_stream(source_path) as source, open(file, "wb") as target:
            shutil.copyfileobj(source, target, BLOCK_BYTES)

    def delete(self, path: str) -> None:
        """Delete a file or whole folder of the store; do nothing if the path doesn't exist."""
        full = f"{self.root}/{path}"
        kind = self.filesystem.get_file_info(full).type
        if kind == pafs.FileType.Directory:
            self.filesystem.delete_dir(full)
        elif kind != pafs.FileType.NotFound:
            self.filesystem.delete_file(full)

    def _file(self, path: str) -> str:
        """Return the full path of a file to read; refuse a pipe, which could block for ever."""
        full = f"{self.root}/{path}"
        # of an object store, which holds no such thing, this would be one more request
        if self.is_local() and self.filesystem.get_file_info(full).type == pafs.FileType.Unknown:
            raise OSError(f"{full} isn't a file")
        return full

    def address(self, path: str) -> str:
        """Return the absolute local path, or the full address, of a path in the store."""
        if not self.scheme:
            return f"{self.root}/{path}"
        options = f"?{self.options}" if self.options else ""
        return f"{self.scheme}://{self.root}/{path}{options}"
