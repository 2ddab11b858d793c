"""Find the W&B server and an API key, and test whether the server responds."""

from __future__ import annotations

import contextlib
import os
import threading
import time

import httpx

from kpod_ray.errors import KpodError

ANSWER_SECONDS = 2.0
"""Time limit for a response of the server."""
ASK_SECONDS = 10.0
"""Pause between two requests of `SignsOfLife`."""
SILENT_SECONDS = 25.0
"""A server that hasn't responded for so long counts as unreachable."""


def base_url() -> str:
    """Return the URL of the W&B server: ``WANDB_BASE_URL``, or else that of W&B's own settings.

    The URL has no slash at the end. No request is sent, but reading W&B's settings may start W&B's
    process on this machine.

    Raises:
        KpodError: The URL holds a user or password, which would end up in messages.
    """
    import wandb

    url = (os.environ.get("WANDB_BASE_URL") or str(wandb.setup().settings.base_url)).rstrip("/")
    if "@" in url or "?" in url:
        raise KpodError(
            "WANDB_BASE_URL holds a user, password or parameter; set it to the plain address, and "
            "WANDB_API_KEY to the key"
        )
    return url


def has_wandb_login() -> bool:
    """Return whether ``WANDB_API_KEY`` isn't empty, or the netrc file has an API key for `base_url`.

    The server isn't asked whether the key is valid. A netrc file that can't be read has no key.

    Raises:
        KpodError: The key in the netrc file has an invalid format; or as in `base_url`.
    """
    if os.environ.get("WANDB_API_KEY"):
        return True
    from wandb.errors import AuthenticationError
    from wandb.sdk.lib.wbauth.wbnetrc import read_netrc_auth

    try:
        return read_netrc_auth(host=base_url()) is not None
    except AuthenticationError:
        raise KpodError(
            "the W&B key in the netrc file is malformed; run wandb login, or set WANDB_API_KEY"
        ) from None


def answers(url: str) -> bool:
    """Return whether a server responds to ``GET url/healthz``, with any status, within `ANSWER_SECONDS`.

    The argument ``url`` has a scheme and no slash at the end. Nothing is raised: a URL that can't be
    reached or is malformed gives False.
    """
    heard = threading.Event()

    def ask() -> None:
        """Send a request, and set ``heard`` if there is a response."""
        with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL, OSError):
            httpx.get(f"{url}/healthz", timeout=ANSWER_SECONDS)
            heard.set()

    thread = threading.Thread(target=ask, name="kpod-wandb-answers", daemon=True)
    thread.start()
    # The time limit is the join's: httpx limits neither a DNS look-up nor the total time of a response.
    thread.join(ANSWER_SECONDS)
    return heard.is_set()


def check_reachable() -> None:
    """Check that there is an API key, and that the server responds; the key isn't sent.

    Raises:
        KpodError: There is no API key, the server doesn't respond, or as in `has_wandb_login`.
    """
    if not has_wandb_login():
        raise KpodError("no W&B API key; set WANDB_API_KEY or run wandb login")
    if not answers(base_url()):
        raise KpodError(f"W&B at {base_url()} doesn't answer; try again later")


class SignsOfLife:
    """Polls a server in a thread from the creation of the instance until `stop`.

    Args:
        url: URL of the server, as `answers` takes it.
        ask_seconds: seconds from the end of a request to the next request.
        silent_seconds: seconds without a response after which the server counts as unreachable.
    """

    def __init__(
        self, url: str, ask_seconds: float = ASK_SECONDS, silent_seconds: float = SILENT_SECONDS
    ) -> None:
        self._url = url
        self._ask_seconds = ask_seconds
        self._silent_seconds = silent_seconds
        self._heard_at = time.monotonic()
        self._is_over = threading.Event()
        threading.Thread(target=self._ask, name="kpod-wandb-signs", daemon=True).start()

    def is_there(self) -> bool:
        """Return, without waiting, whether the server responded in the last ``silent_seconds``.

        The start of the polling counts as a response. After `stop`, the result becomes False once
        ``silent_seconds`` have passed since the last response.
        """
        return time.monotonic() - self._heard_at < self._silent_seconds

    def stop(self) -> None:
        """Stop polling for good, without waiting for a request under way."""
        self._is_over.set()

    def _ask(self) -> None:
        while not self._is_over.is_set():
            if answers(self._url):
                self._heard_at = time.monotonic()
            self._is_over.wait(self._ask_seconds)
