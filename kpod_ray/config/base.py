"""What all settings share."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from kpod_ray.errors import KpodError


class Config(BaseModel):
    """Base of all settings: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


_OF_SEVERAL_KINDS = ("questions", "teacher", "weighting")
"""Groups of settings behind whose names pydantic puts the kind that it took them for."""


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``dotted.path=value``; the value is read as YAML.

    Raises:
        KpodError: There is no ``=`` or no path before it.
    """
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise KpodError(f"override {text!r}: expected dotted.path=value")
    try:
        return path, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise KpodError(f"override {text!r}: the value is not YAML") from error


def replaced(raw: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy of nested settings with the values at dotted paths replaced.

    Raises:
        KpodError: A path goes through a value.
    """
    result = _deep_copy(raw)
    for path, value in overrides.items():
        *groups, key = path.split(".")
        node = result
        for group in groups:
            node = node.setdefault(group, {})
            if not isinstance(node, dict):
                raise KpodError(f"override {path}: {group} is a value, not a group of settings")
        node[key] = value
    return result


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two layers of nested settings as one: where both set a value, ``above`` wins.

    A group of another ``kind`` or ``source`` takes the place of the whole group: their keys differ.
    """
    result = _deep_copy(below)
    for key, value in above.items():
        known = result.get(key)
        if isinstance(value, Mapping) and isinstance(known, dict) and _are_alike(known, value):
            result[key] = merged(known, value)
        else:
            result[key] = value
    return result


def _are_alike(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    return all(name not in above or below.get(name) == above[name] for name in ("kind", "source"))


def _deep_copy(node: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _deep_copy(v) if isinstance(v, Mapping) else v for k, v in node.items()}


def explain(problem: Mapping[str, Any]) -> str:
    """Say in words what pydantic found wrong with one setting; name the nearest known key."""
    told = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return told
    path = ".".join(_without_kind(problem["loc"]))
    if problem["type"] == "extra_forbidden":
        known = _known_keys()
        nearest = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        return f"unknown key {path}" + (f", did you mean {nearest[0]}?" if nearest else "")
    if problem["type"] == "union_tag_invalid":
        tag = problem["ctx"]
        name = tag["discriminator"].strip("'")
        return f"{path}.{name}: expected {tag['expected_tags']} (got {tag['tag']!r})"
    if problem["type"] == "missing":
        return f"{path} is missing"
    is_whole = isinstance(problem["input"], Mapping)  # what several keys say together
    return f"{path}: {told}" + ("" if is_whole else f" (got {problem['input']!r})")


def _without_kind(location: Sequence[str | int]) -> list[str]:
    first, *others = map(str, location)
    return [first, *others[1:]] if first in _OF_SEVERAL_KINDS else [first, *others]


def _known_keys() -> list[str]:
    classes, keys = [Config], set[str]()
    while classes:
        current = classes.pop()
        classes += current.__subclasses__()
        keys |= set(current.model_fields)
    return sorted(keys)
