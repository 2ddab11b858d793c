"""Local paths as users write them, and the file systems behind ``s3://`` and ``gs://`` addresses."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from kpod_ray.errors import KpodError

ATTEMPTS = 8
"""Attempts of one S3 request, with exponential backoff: about a minute in all."""


ANSWER_SECONDS = 10.0
"""A storage that hasn't answered after so many seconds at the start of a command is given up."""


class PatientS3(pafs.S3FileSystem):
    """An S3 file system that retries requests while the server doesn't answer, also after pickling.

    pyarrow's `S3FileSystem` loses its retry strategy when an instance is pickled.

    Args:
        options: Keyword arguments of `pyarrow.fs.S3FileSystem`, without ``retry_strategy``.
    """

    def __init__(self, **options: Any) -> None:
        retries = pafs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS)
        super().__init__(retry_strategy=retries, **options)

    def impatient(self) -> pafs.S3FileSystem:
        """Return a file system of the same place that tries requests twice, for a few seconds."""
        options = super().__reduce__()[1][0]
        retries = pafs.AwsStandardS3RetryStrategy(max_attempts=2)
        return pafs.S3FileSystem(**{**options, "retry_strategy": retries})

    def __reduce__(self) -> tuple[Any, ...]:
        return _patient_s3, super().__reduce__()[1]


def local_path(text: str) -> Path:
    """Return a local path, which need not exist, with ``~`` expanded.

    Raises:
        KpodError: The user after ``~`` is unknown, the path is too long, or a folder on the path can't
            be searched.
    """
    try:
        path = Path(text).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: no such user
        problem = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        raise KpodError(f"path {text}: {problem}; check the path") from error
    return path


def open_address(address: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system of an address, and the path inside the file system.

    S3 takes its keys and its server from the AWS environment variables (``AWS_ACCESS_KEY_ID``,
    ``AWS_SECRET_ACCESS_KEY``, ``AWS_ENDPOINT_URL``) and AWS files of the machine. Whether the path
    exists isn't checked; pyarrow may ask S3 for the region of the bucket.

    Args:
        address: Address such as ``s3://bucket/folder``, with an optional query of pyarrow's options, or
            an absolute local path.

    Raises:
        KpodError: The address contains a key.
        OSError: The file system can't be opened.
        pa.ArrowInvalid: The text is not an address that pyarrow knows.
    """
    parts = urlsplit(address)
    if "@" in parts.netloc:
        raise KpodError(
            f"address {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}: a key in it "
            "would end up in files; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
        )
    filesystem, path = pafs.FileSystem.from_uri(address)
    if isinstance(filesystem, pafs.S3FileSystem):
        # pyarrow's own pickling holds the options that `from_uri` parsed from the address.
        filesystem = _patient_s3(*filesystem.__reduce__()[1])
    return filesystem, path


def check_answers(place: str) -> None:
    """Check that a storage answers soon, at a local path or an address; nothing need exist there.

    Later requests to an object store are repeated for a minute, and a request to a dead network mount
    never ends: this check is for the start of a command.

    Raises:
        KpodError: The storage can't be reached, refuses the keys, is silent for `ANSWER_SECONDS`, or
            its S3 bucket doesn't exist.
    """
    caught: list[OSError] = []

    def ask() -> None:
        """Send one request to the storage, and keep its error."""
        # other errors, such as of a malformed address, are found again when the storage is opened
        with contextlib.suppress(KpodError, RuntimeError, ValueError):
            try:
                _ask(place)
            except OSError as error:
                caught.append(error)

    asking = threading.Thread(target=ask, daemon=True)  # a thread that hangs ends with the process
    asking.start()
    asking.join(ANSWER_SECONDS)
    if asking.is_alive():
        raise KpodError(
            f"storage {place} doesn't answer within {ANSWER_SECONDS:.0f} s; check the address, the "
            "network or the mount"
        )
    if caught:
        raise KpodError(f"storage {place} can't be reached: {reason(caught[0])}")


def _ask(place: str) -> None:
    if "://" not in place:
        folder = local_path(place)
        with contextlib.suppress(PermissionError):  # for the command to find
            if folder.exists() and not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return
    filesystem, path = open_address(place)
    if not isinstance(filesystem, PatientS3):
        filesystem.get_file_info(path)
        return
    bucket = path.partition("/")[0]
    if filesystem.impatient().get_file_info(bucket).type == pafs.FileType.NotFound:
        raise OSError(f"Bucket '{bucket}' not found")


def reason(error: OSError | pa.ArrowException | ValueError) -> str:
    """Return one line that says why a file or a file system can't be used and, if known, what to do.

    The line is the system's text for the error's number, else the first line of the error's message, or
    the error's type if the message is empty. For missing permissions, buckets and networks, what to do
    follows.
    """
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    first = (str(error).splitlines() or [type(error).__name__])[0]
    if "ACCESS_DENIED" in first or "HTTP status 403" in first:
        return f"{first}; check the keys and their permissions"
    if first.startswith("Bucket") and "not found" in first:
        return f"{first.partition('. ')[0]}; make it first"
    if "NETWORK_CONNECTION" in first:
        return f"{first}; check AWS_ENDPOINT_URL and the network"
    return first


def _patient_s3(options: dict[str, Any]) -> PatientS3:
    return PatientS3(**options)
