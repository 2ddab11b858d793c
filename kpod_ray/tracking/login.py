"""Which W&B server there is, and whether this machine has a key for it."""

from __future__ import annotations

import contextlib
import os
import threading

import httpx

ANSWER_SECONDS = 2.0
"""How long a W&B server may take to show that it is there."""


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
        with contextlib.suppress(httpx.HTTPError, OSError):
            httpx.get(f"{url}/healthz", timeout=ANSWER_SECONDS)
            heard.set()

    thread = threading.Thread(target=ask, name="kpod-wandb-answers", daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)  # httpx bounds neither the look-up of a name nor a slow drip
    return heard.is_set()
