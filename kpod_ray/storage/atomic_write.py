"""Write one file of a local disk or of an object store completely, or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from pathlib import Path
from typing import IO

import pyarrow.fs as pafs

HALF_WRITTEN = ".tmp"
"""Suffix of the temporary files of atomic writes; a killed writer leaves its file."""
BLOCK_BYTES = 1 << 24
"""Bytes of one read while a file is copied."""
_SPOOL_BYTES = 1 << 26
"""A file for an object store is buffered in memory up to this size, then on the local disk."""


class AtomicWrite:
    """A context with a stream for an atomic write of one file; an exception discards the content.

    A local file is written under a temporary name, flushed to the disk and renamed. A file for object
    storage is buffered locally and uploaded at the end.

    Args:
        filesystem: file system of the file.
        target: path of the file inside the file system.
    """

    def __init__(self, filesystem: pafs.FileSystem, target: str) -> None:
        self.filesystem = filesystem
        self.target = target
        self.temporary = f"{target}.{uuid.uuid4().hex}{HALF_WRITTEN}"
        self.is_local = isinstance(filesystem, pafs.LocalFileSystem)

    def __enter__(self) -> IO[bytes]:
        if not self.is_local:
            # Closing a stream of an object store publishes the bytes written so far, also when an
            # exception closes the stream. Nothing is sent before the content is complete.
            self.stream: IO[bytes] = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)
            return self.stream
        self.filesystem.create_dir(os.path.dirname(self.target), recursive=True)
        self.stream = self.filesystem.open_output_stream(self.temporary)
        return self.stream

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        finish = self._rename if self.is_local else self._send
        try:
            finish(error_type is None)
        finally:
            self.stream.close()

    def _send(self, is_complete: bool) -> None:
        if is_complete:
            self.stream.seek(0)
            send(self.stream, self.filesystem, self.target)

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


def send(source: IO[bytes], filesystem: pafs.FileSystem, target: str) -> None:
    """Copy a stream to a file of an object store; a copy that fails leaves no file."""
    stream = filesystem.open_output_stream(target)
    try:
        with stream:
            while block := source.read(BLOCK_BYTES):
                stream.write(block)
    except BaseException:
        # closing the stream has published what was written before a failed read or an interrupt
        with contextlib.suppress(OSError):
            filesystem.delete_file(target)
        raise
