"""What a user is told when something fails inside an actor."""

from __future__ import annotations

import errno
import re

from kpod_ray.errors import KpodError

_TOLD = re.compile(rf"^.*\b{KpodError.__module__}\.{KpodError.__name__}: (.+)$", re.MULTILINE)
"""The line of a traceback that names the error: of an actor's constructor Ray keeps the text alone."""


def raise_cause(error: BaseException) -> None:
    """Raise the `KpodError` that an error of Ray carries, if it does; a full disk is one.

    Raises:
        KpodError: The cause, for the user.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, KpodError):
            raise KpodError(str(cause)) from error
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise KpodError(
                "the disk of the storage is full; make room and run the same command again: it "
                "goes on where it stopped"
            ) from error
        cause = getattr(cause, "cause", None) or cause.__cause__ or cause.__context__
    if told := _TOLD.findall(str(error)):
        raise KpodError(told[-1]) from error
