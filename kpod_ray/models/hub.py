"""Whether the Hugging Face hub answers, asked before its library is loaded."""

from __future__ import annotations

import os
import socket
import urllib.request
from urllib.parse import urlsplit

ANSWER_SECONDS = 3.0
"""Longest wait for a connection to the hub."""
_DEFAULT = "https://huggingface.co"


def unreachable_hub() -> str | None:
    """Return the hub's address if nothing answers there, and have this process use its cache alone.

    The hub's library would try each file for half a minute, with a warning for each attempt. It reads
    the variable ``HF_HUB_OFFLINE``, which is set here, when it is first imported. With a proxy, or if
    the variable is set already, nothing is tried and None is returned.
    """
    if "HF_HUB_OFFLINE" in os.environ or urllib.request.getproxies():
        return None
    address = os.environ.get("HF_ENDPOINT") or _DEFAULT
    parts = urlsplit(address)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname or "", port), ANSWER_SECONDS).close()
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"
        return address
    return None
