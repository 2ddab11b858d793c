"""Which W&B server there is, and whether this machine has a key for it."""

from __future__ import annotations

import contextlib
import os
import threading
import time

import httpx

ANSWER_SECONDS = 2.0
"""How long a W&B server may take to show that it is there."""
ASK_SECONDS = 10.0
"""Pause between two questions to a server whether it is still there."""
SILENT_SECONDS = 25.0
"""A server that has said nothing for so long is gone, as far as a run is concerned that ends now."""


def base_url() -> str:
    """Return the address of the W&B server: of the environment, W&B's settings, or its own."""
    import wandb

    return os.environ.get("WANDB_BASE_URL") or str(wandb.setup().settings.base_url)


def has_wandb_login() -> bool:
    """Whether an API key is to be found, in the environment or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    from wandb.sdk.lib.wbauth.wbnetrc import read_netrc_auth

    return read_netrc_auth(host=base_url()) is not None


def answers(url: str) -> bool:
    """Whether a server says anything at all, soon; the wait is bounded whatever it does."""
    heard = threading.Event()

    def ask() -> None:
        """Note an answer, if one comes."""
        with contextlib.suppress(httpx.HTTPError, OSError):
            httpx.get(f"{url}/healthz", timeout=ANSWER_SECONDS)
            heard.set()

    thread = threading.Thread(target=ask, name="kpod-wandb-answers", daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)  # httpx bounds neither the look-up of a name nor a slow drip
    return heard.is_set()


class SignsOfLife:
    """Asks a server again and again whether it is there, so that later nobody waits for one that isn't.

    Args:
        url: of the server.
        ask_seconds: pause between two questions.
        silent_seconds: how long it may say nothing before it counts as gone.
    """

    def __init__(
        self, url: str, ask_seconds: float = ASK_SECONDS, silent_seconds: float = SILENT_SECONDS
    ) -> None:
        self._url, self._ask_seconds, self._silent_seconds = url, ask_seconds, silent_seconds
        self._heard_at, self._is_over = time.monotonic(), threading.Event()
        threading.Thread(target=self._ask, name="kpod-wandb-signs", daemon=True).start()

    def is_there(self) -> bool:
        """Whether the server has said something lately, or hasn't been asked for long. Never waits."""
        return time.monotonic() - self._heard_at < self._silent_seconds

    def stop(self) -> None:
        """Ask no more."""
        self._is_over.set()

    def _ask(self) -> None:
        while not self._is_over.is_set():
            if answers(self._url):
                self._heard_at = time.monotonic()
            self._is_over.wait(self._ask_seconds)
