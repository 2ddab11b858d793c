"""Names of models in a config: what kind of model a name means, and what of a name is published.

A name is a local folder; a folder at an ``s3://`` or ``gs://`` address; ``tiny:SEED``, ``tiny-t5:SEED``
or ``small:SEED`` of `random_models`; ``builtin:NAME``, a small trained model of this package (see
``builtin/README.md``); ``packaged:NAME``, a model inside another installed Python package; or
``OWNER/NAME``, with one slash and no such local path, a model on the Hugging Face hub. Any other name,
such as ``gpt2``, means a local folder. ``trusted:`` may stand before a name (`custom_code`).
"""

from __future__ import annotations

import os

from kpod_ray.errors import KpodError
from kpod_ray.models.custom_code import plain_name

RANDOM = ("tiny", "tiny-t5", "small")
"""Kinds of models with random parameters; their names are KIND:SEED."""
GENERATED = (*RANDOM, "builtin", "packaged")
"""Kinds of models with a colon in their names, which aren't names of folders."""
_SEED_DIGITS = len(str(2**64))


def is_hub_name(name: str) -> bool:
    """Return whether a name has the form OWNER/NAME of a hub model, and no such local path exists."""
    name = plain_name(name)
    return ":" not in name and not looks_local(name)


def is_folder(name: str) -> bool:
    """Return whether a name means a local folder, existing or not, or a folder at an address."""
    name = plain_name(name)
    return "://" in name or (name.partition(":")[0] not in GENERATED and looks_local(name))


def without_folders(name: str) -> str:
    """Return a model's name for publication: of a folder (`is_folder`) only the last path component.

    Of an address, user names and options, which may be keys, are left out, too.
    """
    name = plain_name(name)
    return without_query(name).rpartition("/")[2] if is_folder(name) else name


def without_query(name: str) -> str:
    """Return a model's name for messages: an address without a key, options and final slashes."""
    if "://" not in name:
        return name.rstrip("/")
    scheme, _, rest = name.partition("://")
    place = rest.partition("?")[0].partition("#")[0].rstrip("/")
    bucket, slash, path = place.partition("/")
    return f"{scheme}://{bucket.rpartition('@')[2]}{slash}{path}"


def looks_local(name: str) -> bool:
    """Return whether a name means a local folder: it isn't of the form OWNER/NAME, or it exists."""
    # os.path.exists returns False for names that are no path, such as very long ones.
    return name.startswith(("/", "./", "../", "~")) or name.count("/") != 1 or os.path.exists(name)


def seed_of(kind: str, text: str) -> int:
    """Return the seed of the random model ``KIND:TEXT``, such as ``tiny:7``.

    Raises:
        KpodError: The text is no whole number below 2^64.
    """
    if not text.isdecimal():
        raise KpodError(f"model {kind}:{text}: expected {kind}:SEED with a whole number")
    digits = text.lstrip("0") or "0"
    # Python refuses to convert thousands of digits.
    if len(digits) > _SEED_DIGITS or int(digits) >= 2**64:
        raise KpodError(
            f"model {kind}:{text[:_SEED_DIGITS]}...: expected {kind}:SEED with a whole number below 2^64"
        )
    return int(digits)
