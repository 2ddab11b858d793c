"""The API key of an endpoint: where it comes from, and the servers that may get it.

A config may have been written by another person. So a config alone can't send a key in clear text, send
another secret of the user's environment, or send the key of one service to another.
"""

from __future__ import annotations

import ipaddress
import os
import re

import httpx
from pydantic import SecretStr

from kpod_ray.config import EndpointTeacher
from kpod_ray.errors import KpodError

ALLOWED = "KPOD_ALLOWED_KEY_VARIABLES"
"""Environment variable with the names of variables whose content the user sends to any server."""
_OWNERS = {"OPENAI_API_KEY": "api.openai.com", "WANDB_API_KEY": "api.wandb.ai"}
"""Variable that tools set for one server -> that server."""


def key_variable(teacher: EndpointTeacher) -> str | None:
    """Return the environment variable of the key: ``api_key_env``, or None for no key.

    Without ``api_key_env``, it is OPENAI_API_KEY for OpenAI's server and for servers on this machine.
    """
    if teacher.api_key_env is not None:
        return teacher.api_key_env
    try:
        host = httpx.URL(teacher.base_url).host
    except httpx.InvalidURL:
        return None
    name = "OPENAI_API_KEY"
    return name if host == _OWNERS[name] or is_loopback(host) else None


def endpoint_key(teacher: EndpointTeacher) -> SecretStr:
    """Return the key of an endpoint, without white space around it; empty without one.

    Raises:
        KpodError: ``base_url`` is no valid address; or the key may not go there: the variable isn't one
            of API keys or belongs to another server, and the user hasn't allowed it by `ALLOWED`; or
            the address is neither https nor on this machine.
    """
    try:
        url = httpx.URL(teacher.base_url)
    except httpx.InvalidURL as error:
        raise KpodError(f"teacher.base_url {teacher.base_url}: no address ({error})") from error
    variable = key_variable(teacher)
    if variable is None:
        return SecretStr("")
    if variable not in re.split(r"[\s,]+", os.environ.get(ALLOWED, "")):
        _check_owner(variable, url.host)
    key = os.environ.get(variable, "").strip()
    if key and url.scheme != "https" and not is_loopback(url.host):
        raise KpodError(
            f"teacher.base_url {teacher.base_url}: the key in {variable} would cross the network "
            f"unencrypted; use https, or unset {variable}"
        )
    return SecretStr(key)


def _check_owner(variable: str, host: str) -> None:
    """Raise a `KpodError` if a variable may hold a secret that doesn't belong to the host."""
    remedy = f"or set {ALLOWED}={variable} in your own environment"
    if not variable.endswith("_API_KEY"):
        raise KpodError(
            f"teacher.api_key_env {variable}: it doesn't end in _API_KEY, so it may hold another "
            f"secret; rename it, {remedy}"
        )
    owner = _OWNERS.get(variable, host)
    if owner != host and not is_loopback(host):
        raise KpodError(
            f"teacher.api_key_env {variable}: it is the key of {owner}, not of {host}; name another "
            f"variable, {remedy}"
        )


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine: ``localhost``, 127.0.0.0/8 or ::1."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
