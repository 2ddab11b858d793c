"""The address that ``ray start`` leaves for the drivers of this machine."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from kpod_ray.errors import KpodError

CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")
"""File in which ``ray start`` stores the address of the cluster that it started."""
CONNECT_SECONDS = 2.0
"""Timeout of the check whether a cluster listens at the address in `CURRENT_CLUSTER`."""
_MAX_BYTES = 300
"""Longest content of the file that is read; an address is shorter."""


def running_address(file: Path) -> str:
    """Return the address in a file of ``ray start``, or ``local`` if this user has no cluster there.

    Every user of the machine can write to Ray's folder, and whoever is at the address could run code as
    the driver's user. A link, a file of another user, a missing file and a file without ``host:port``
    give ``local``. The file remains when a cluster is killed, and Ray would wait minutes for the dead
    cluster; the address is therefore tried first, for at most `CONNECT_SECONDS`.

    Raises:
        KpodError: The file is this user's, and other users may write to the file.
    """
    address = _read_own(file)
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError):
        return "local"
    return address


def _read_own(file: Path) -> str:
    """Return the text of a file of this user; nothing if there is no such file."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            return ""
        text = os.read(descriptor, _MAX_BYTES)
    finally:
        os.close(descriptor)
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise KpodError(
            f"other users can change the cluster's address in {file}; run chmod go-w on the file, or "
            "set RAY_ADDRESS"
        )
    return text.decode(errors="replace").strip()
