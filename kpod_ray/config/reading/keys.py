"""Refuse keys and passwords in a config, whose content ends in files, on W&B and in logs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_NAME = re.compile(
    r"(api_?key|access_?key(_?id)?|secret(_?access)?_?key|private_?key|subscription_?key|secret|password"
    r"|passwd|credentials?|authorization|(api|auth|access|bearer|hf|session|security)_?token|^token)$",
    re.IGNORECASE,
)
"""Names of settings, headers and parameters whose values are keys."""
_PARAMETER = re.compile(rf"{_NAME.pattern}|^(key|sig|signature|code|x_amz_\w+)$", re.IGNORECASE)
_VALUE = re.compile(
    r"(Bearer|Basic)\s+\S{8,}|(sk-|hf_|gh[po]_|gsk_|xai-|pypi-)[\w-]{20,}|A[KS]IA[A-Z0-9]{16}"
)
"""Texts that are keys, whatever the name of their setting."""


def refuse_keys(settings: Mapping[str, Any]) -> None:
    """Check that no setting and no address in nested settings holds a key; no message repeats a key.

    Raises:
        ValueError: A setting does; the message names it and says where the key belongs.
    """
    _check_group("", settings)


def _check_group(prefix: str, settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        _check(prefix.rstrip(".") or "config", str(name))
        if _is_key(str(name), value):
            raise ValueError(_refusal(f"{prefix}{name}", "teacher"))
        _check(f"{prefix}{name}", value)


def _check(path: str, value: object) -> None:
    if isinstance(value, Mapping):
        _check_group(f"{path}.", value)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check(path, inner)
    elif isinstance(value, str):
        if _VALUE.fullmatch(value.strip()):
            raise ValueError(_refusal(path, "teacher"))
        if "://" in value:
            _check_address(path, value)


def _is_key(name: str, value: object) -> bool:
    """Return whether a setting, or the dotted path of one, has the name and the value of a key."""
    last = name.rpartition(".")[2].replace("-", "_")
    is_empty = value is None or isinstance(value, bool | Mapping) or value == ""
    return bool(_NAME.search(last)) and (not is_empty or "." in name)


def _check_address(path: str, address: str) -> None:
    scheme, _, rest = address.strip().partition("://")
    try:
        parts = urlsplit(f"x://{rest}")
        names = [name.replace("-", "_") for name, _ in parse_qsl(parts.query, True)]
    except ValueError:  # no address, which other checks find
        return
    if "@" in parts.netloc or any(_PARAMETER.search(name) for name in names):
        raise ValueError(_refusal(path, scheme.rpartition(":")[2].strip().lower()))


def _refusal(path: str, use: str) -> str:
    where = {
        "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead",
        "gs": "set GOOGLE_APPLICATION_CREDENTIALS instead",
    }
    return f"{path}: a key in it would end up in files; " + where.get(
        use, "put it into an environment variable and name the variable in teacher.api_key_env"
    )
