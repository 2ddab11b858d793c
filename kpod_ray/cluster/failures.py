"""Turn failures of the storage, and `KpodError`s raised inside actors, into one-line `KpodError`s."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator

import ray
import ray.train

from kpod_ray.errors import KpodError

_KPOD_ERROR = re.compile(rf"^.*\b{KpodError.__module__}\.{KpodError.__name__}: (.+)$", re.MULTILINE)
_STORAGE_ERROR = re.compile(r"(?:AWS Error|google::cloud::Status)[^\n]*")
_ARTIFACT_GONE = re.compile(rf"\[Errno {errno.ENOENT}\][^\n]*/[a-z]+/[0-9a-f]{{16}}\b[^\n]*")
_NUMBERS = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN)
_DISK_ERROR = re.compile(rf"\[Errno (?:{'|'.join(map(str, _NUMBERS))})\][^\n]*")
_DISK_FULL = re.compile(rf"\[Errno ({errno.ENOSPC}|{errno.EDQUOT})\]")


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Raise failures of the block as `KpodError` if the user can fix the cause.

    An `OSError`, `RayError` or `TrainingFailedError` with one of four causes is replaced: a `KpodError`
    raised in a process of Ray, a full disk, a disk or an object store that fails or can't be written, or
    a file of an artifact that was deleted. Any other error
    passes unchanged, also a `KpodError` raised in this process. The context yields None.

    Raises:
        KpodError: The block failed from one of these causes; the message is one line.
    """
    try:
        yield
    except (OSError, ray.exceptions.RayError, ray.train.TrainingFailedError) as error:
        # Ray passes on the traceback of an actor's error as text and drops its chain of causes, so the
        # cause can be found only in the text. The last match is the error that was raised last.
        if messages := _KPOD_ERROR.findall(str(error)):
            raise KpodError(messages[-1]) from error
        if _DISK_FULL.search(str(error)):
            raise KpodError(
                "the disk of the storage is full; make room and run the same command again: the "
                "run continues where it stopped"
            ) from error
        patterns = (_STORAGE_ERROR, _DISK_ERROR, _ARTIFACT_GONE)
        if messages := [text for p in patterns for text in p.findall(str(error))]:
            raise KpodError(
                f"the storage failed: {messages[-1]}; run the same command again when the storage "
                "works: the run continues where it stopped"
            ) from error
        raise
