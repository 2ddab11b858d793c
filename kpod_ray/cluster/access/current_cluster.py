"""The address that ``ray start`` leaves for the drivers of this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

from kpod_ray.errors import KpodError

CONNECT_SECONDS = 2.0
"""Timeout of the check whether a cluster listens at the address in the file."""
_MAX_BYTES = 300
"""Longest content of the file that is read; an address is shorter."""


_LISTENS = "0A"
"""State of a socket in Linux's tables of TCP connections."""


def address_file() -> Path:
    """Return the file in which ``ray start`` stores the address of the cluster that it started."""
    return Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"


def running_address(file: Path) -> str:
    """Return the address in a file of ``ray start``, or ``local`` if there is no cluster of this user.

    Every user of the machine can write to Ray's folder, and the process at the address gets the token
    and could run code as the driver's user. A link, a file of another user, a missing file, a file
    without ``host:port`` and a port on which another user listens give ``local``. The file remains when
    the cluster is killed, and Ray would wait minutes for a dead cluster; the address is therefore tried
    first, for at most `CONNECT_SECONDS`.

    Raises:
        KpodError: The file is this user's, and other users may write to the file.
    """
    address = _read_own(file)
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError):
        return "local"
    users = _listening_users(int(port))
    return address if not users or os.geteuid() in users else "local"


def _listening_users(port: int) -> set[int]:
    """Return the ids of the users who listen on a port of this machine."""
    users = set[int]()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                _, local, _, state, _, _, _, user, *_ = line.split()
                if state == _LISTENS and int(local.rpartition(":")[2], 16) == port:
                    users.add(int(user))
    return users


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
