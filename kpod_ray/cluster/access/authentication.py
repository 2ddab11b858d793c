"""Token authentication: a Ray that kpod starts serves only clients that know the user's token.

A client that a Ray accepts can run code as the user. All servers and clients of a Ray therefore share a
secret, the token.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from ray._private.authentication.authentication_token_setup import _enable_token_auth

from kpod_ray.errors import KpodError


def turn_on() -> None:
    """Require tokens of the Ray that this process starts next, and find or create the user's token.

    RAY_AUTH_MODE is overruled. The token is that of RAY_AUTH_TOKEN, else of the file of
    RAY_AUTH_TOKEN_PATH, else of ``~/.ray/auth_token``, which is created and closed to other users where
    necessary. Processes that start at the same moment get the same token.

    Raises:
        KpodError: The file can't be read, created or closed, is another user's, or the token is blank.
    """
    source, token = _find_token()
    if not token.strip():
        raise KpodError(f"{source} should hold Ray's token and is blank; remove it")
    _enable_token_auth()


def turn_on_to_join() -> None:
    """Send the user's token to the cluster that this process joins next, unless RAY_AUTH_MODE is set.

    Ray reads RAY_AUTH_MODE when it is imported; a mode ``token`` that is set later takes effect here.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() == "token":
        _enable_token_auth()


def _find_token() -> tuple[str, str]:
    """Return where the user's token is, and the token."""
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN", token
    given, home = os.environ.get("RAY_AUTH_TOKEN_PATH"), os.environ.get("HOME")
    if not given and not home:
        raise KpodError("HOME isn't set, where Ray's token is kept; set HOME or RAY_AUTH_TOKEN")
    file = Path(given) if given else Path(f"{home}/.ray/auth_token")
    try:
        if not given:
            _keep_token(file)
        return str(file), file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it isn't text"
        raise KpodError(
            f"Ray's token can't be kept in {file}: {reason}; set RAY_AUTH_TOKEN to a long random text"
        ) from error


def _keep_token(file: Path) -> None:
    """Create a token's file if it is missing, and close it to other users.

    Ray itself would create a file that every user of the machine can read.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _close(file.parent, 0o700)
    if not file.exists():
        _create(file)
    _close(file, 0o600)


def _create(file: Path) -> None:
    """Write a new token to a file that appears whole, and not if another process was faster."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix="auth_token.") as new:
        new.write(secrets.token_hex(32))
        new.flush()
        os.fsync(new.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(new.name, file)


def _close(path: Path, mode: int) -> None:
    """Give a file or folder a mode if other users have any permission.

    Raises:
        KpodError: Another user owns the file or folder.
    """
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise KpodError(f"{path} belongs to another user, who knows the token; set RAY_AUTH_TOKEN")
    if found.st_mode & 0o077:
        path.chmod(mode)
