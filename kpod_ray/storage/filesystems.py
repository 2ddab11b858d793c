"""The file systems behind ``s3://`` and ``gs://`` addresses."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from kpod_ray.errors import KpodError

ATTEMPTS = 8
"""Tries of one S3 request, with longer and longer waits between them: about a minute in all."""


class PatientS3(pafs.S3FileSystem):
    """S3 that asks again while a server doesn't answer, in every process that it is handed to.

    pyarrow's own forgets how often it is to ask again when it is pickled.

    Args:
        options: as pyarrow's own takes them.
    """

    def __init__(self, **options: Any) -> None:
        retries = pafs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS)
        super().__init__(retry_strategy=retries, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        return _patient_s3, super().__reduce__()[1]


def _patient_s3(options: dict[str, Any]) -> PatientS3:
    return PatientS3(**options)


def open_address(address: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system of an address, and the path inside it.

    Keys and server of S3 come from AWS's environment variables (``AWS_ACCESS_KEY_ID``,
    ``AWS_SECRET_ACCESS_KEY``, ``AWS_ENDPOINT_URL``) and files, on every machine for itself.

    Raises:
        KpodError: The address holds a key.
        OSError: There is no such file system.
        pa.ArrowInvalid: It is no address.
    """
    parts = urlsplit(address)
    if "@" in parts.netloc:
        raise KpodError(
            f"address {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}: a key in it "
            "would end up in files; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
        )
    filesystem, path = pafs.FileSystem.from_uri(address)
    if isinstance(filesystem, pafs.S3FileSystem):
        filesystem = _patient_s3(*filesystem.__reduce__()[1])
    return filesystem, path


def reason(error: OSError | pa.ArrowInvalid) -> str:
    """Return in a line why a file system can't be used, and what to do where that is known."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    if "ACCESS_DENIED" in first or "HTTP status 403" in first:
        return f"{first}; check the keys, and what they may do"
    if first.startswith("Bucket") and "not found" in first:
        return f"{first.partition('. ')[0]}; make it first"
    if "NETWORK_CONNECTION" in first:
        return f"{first}; check AWS_ENDPOINT_URL and the network"
    return first
