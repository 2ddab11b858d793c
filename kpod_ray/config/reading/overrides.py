"""Dotted overrides, and the merging of layers of settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kpod_ray.config.reading.strict_yaml import YamlError, read_yaml, shown
from kpod_ray.errors import KpodError

_PATH = re.compile(r"[^\s.]+(?:\.[^\s.]+)*\Z")
_TAGS = ("kind", "source")
"""Keys that say of which kind a group is."""
_DOMAINS = frozenset(("uniform", "loguniform", "randint", "choice"))
"""Keys of which a domain of a sweep has exactly one."""


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``dotted.path=value`` at the first ``=`` into the path and the value, parsed as YAML.

    An empty value is None. Whether the path names a setting isn't checked.

    Raises:
        KpodError: The text has no ``=`` or no dotted path before the ``=``, or `read_yaml` refuses the
            value.
    """
    path, equals, value = text.partition("=")
    if not equals or not _PATH.match(path) or not path.isprintable():
        raise KpodError(
            f"override {shown(text)}: expected dotted.path=value, such as student.learning_rate=3e-5"
        )
    try:
        return path, read_yaml(value)
    except YamlError as error:
        raise KpodError(f"override {shown(text)}: {error}") from error


def replaced(raw: Mapping[str, Any], overrides: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return nested settings with the values at dotted paths replaced; ``raw`` stays unchanged.

    Args:
        raw: Nested mapping of settings.
        overrides: Pairs of dotted path and value, of which later ones win. Missing groups on a path are
            created. A mapping is merged into its group as in `merged`.

    Raises:
        KpodError: A path leads through a value that is not a group, such as None.
    """
    result = merged({}, raw)
    for path, value in overrides:
        *groups, key = path.split(".")
        node: Any = result
        for group in groups:
            node = node.get(group, {})
            if not isinstance(node, dict):
                raise KpodError(f"override {path}: {group} is a value, not a group of settings")
        layer = {key: value}
        for group in reversed(groups):
            layer = {group: layer}
        result = merged(result, layer)
    return result


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two layers of nested settings merged; where both set a value, ``above`` wins.

    Only groups (mappings) are merged; a list replaces a list. A group in ``above`` whose ``kind`` or
    ``source`` differs from the one set in ``below`` replaces the whole group: kinds have different keys.
    A domain of a sweep replaces a domain of another form. The arguments stay unchanged; the result
    shares no mapping with them.
    """
    result = {k: merged({}, v) if isinstance(v, Mapping) else v for k, v in below.items()}
    for key, value in above.items():
        lower = result.get(key)
        if isinstance(value, Mapping):
            is_same = isinstance(lower, dict) and _have_same_kind(lower, value)
            result[key] = merged(lower if is_same and lower else {}, value)
        else:
            result[key] = value
    return result


def _have_same_kind(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    domains = above.keys() & _DOMAINS
    is_other_domain = bool(domains) and below.keys() & _DOMAINS != domains
    has_same_tags = all(
        below.get(name, kind) == kind for name, kind in above.items() if name in _TAGS
    )
    return has_same_tags and not is_other_domain
