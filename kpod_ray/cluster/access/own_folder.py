"""The folder of a Ray that kpod starts, which other users of the machine can't enter.

Ray gives all users write permission to the folder of its sockets, objects and uploaded programs; a user
who replaces them can run code as the user of that Ray.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from kpod_ray.errors import KpodError


def own_folder(parent: Path = Path("/tmp")) -> str:
    """Return the folder of RAY_TMPDIR, or make and return ``ray-UID`` in a parent folder.

    Paths of Ray's sockets are limited to 107 bytes, so that a folder deep in the file system isn't
    possible.

    Raises:
        KpodError: The folder can't be made, or is not this user's.
    """
    if given := os.environ.get("RAY_TMPDIR"):
        return given
    folder = parent / f"ray-{os.geteuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if is_own and found.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise KpodError(
            f"Ray's files can't be kept in {folder}: {error.strerror}; set RAY_TMPDIR to your own folder"
        ) from error
    if not is_own:
        raise KpodError(f"{folder} isn't a folder of this user; set RAY_TMPDIR to your own folder")
    return str(folder)
