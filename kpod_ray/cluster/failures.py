"""What a user is told when the storage fails, or something inside an actor."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator

import ray
import ray.train

from kpod_ray.errors import KpodError

_TOLD = re.compile(rf"^.*\b{KpodError.__module__}\.{KpodError.__name__}: (.+)$", re.MULTILINE)
_STORAGE = re.compile(r"(?:AWS Error|google::cloud::Status)[^\n]*")
_DISK_FULL = re.compile(rf"\[Errno ({errno.ENOSPC}|{errno.EDQUOT})\]")


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Run what may fail on a disk, in an object store or in an actor.

    What happened in an actor is known by the text of its traceback: Ray doesn't keep the error that
    another one was raised from.

    Raises:
        KpodError: The cause of the failure, where it is one for the user.
    """
    try:
        yield
    except (OSError, ray.exceptions.RayError, ray.train.TrainingFailedError) as error:
        if told := _TOLD.findall(str(error)):
            raise KpodError(told[-1]) from error
        if _DISK_FULL.search(str(error)):
            raise KpodError(
                "the disk of the storage is full; make room and run the same command again: it "
                "goes on where it stopped"
            ) from error
        if failures := _STORAGE.findall(str(error)):
            raise KpodError(
                f"the storage failed: {failures[-1]}; run the same command again when it can be "
                "used: it goes on where it stopped"
            ) from error
        raise
