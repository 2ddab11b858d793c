"""The base class of all settings, dotted overrides, merging of layers, and error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict

from kpod_ray.errors import KpodError


class Config(BaseModel):
    """Base class of all groups of settings. Instances are immutable; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


_OF_SEVERAL_KINDS = ("questions", "teacher", "weighting")
"""Groups that are a union of kinds. pydantic inserts the kind after the group's name in error paths."""
_TAGS = ("kind", "source")
"""Keys that say of which kind a group is."""


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``dotted.path=value`` at the first ``=`` into the path and the value, parsed as YAML.

    An empty value is None. The path isn't checked.

    Raises:
        KpodError: The text has no ``=`` or no path before the ``=``, or the value is not YAML.
    """
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise KpodError(f"override {text!r}: expected dotted.path=value")
    try:
        return path, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise KpodError(f"override {text!r}: the value is not YAML") from error


def replaced(raw: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of nested settings with the values at dotted paths replaced.

    Groups (mappings) in ``raw`` are copied; other values and the new values are shared with the result.

    Args:
        raw: Nested mapping of settings.
        overrides: Dotted path -> value, applied in order. Missing groups on a path are created. A value
            replaces a whole group, without a merge, and is itself changed by a later path into it.

    Raises:
        KpodError: A path leads through a value that is not a group, such as None.
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
    """Return two layers of nested settings merged; where both set a value, ``above`` wins.

    Only groups (mappings) are merged; a list replaces a list. A group in ``above`` whose ``kind`` or
    ``source`` differs from the one set in ``below`` replaces the whole group: kinds have different keys.
    The arguments stay unchanged; the result may share values with them.
    """
    result = _deep_copy(below)
    for key, value in above.items():
        lower = result.get(key)
        if isinstance(value, Mapping) and isinstance(lower, dict) and _have_same_kind(lower, value):
            result[key] = merged(lower, value)
        else:
            result[key] = value
    return result


def explain(problem: Mapping[str, Any], config: type[Config]) -> str:
    """Return one validation error of pydantic as a message of one line.

    The message has the dotted path (except for an error of the whole config) and the reason. For an
    unknown key, the most similar key of the same group is named.

    Args:
        problem: One element of ``ValidationError.errors()``.
        config: Class that was validated, to which the path is relative.
    """
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    path = ".".join(_without_kind(problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"unknown key {path}{_hint(config, problem['loc'])}"
    if problem["type"] == "union_tag_invalid":
        tag = problem["ctx"]
        name = tag["discriminator"].strip("'")
        return f"{path}.{name}: expected {tag['expected_tags']} (got {tag['tag']!r})"
    if problem["type"] == "missing":
        return f"{path} is missing"
    is_group = isinstance(problem["input"], Mapping)  # a whole group is too long for a message
    return f"{path}: {message}" + ("" if is_group else f" (got {problem['input']!r})")


def _have_same_kind(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    return all(below.get(name, kind) == kind for name, kind in above.items() if name in _TAGS)


def _deep_copy(node: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _deep_copy(v) if isinstance(v, Mapping) else v for k, v in node.items()}


def _without_kind(location: Sequence[str | int]) -> list[str]:
    first, *others = map(str, location)
    return [first, *others[1:]] if first in _OF_SEVERAL_KINDS else [first, *others]


def _hint(config: type[Config], location: Sequence[str | int]) -> str:
    """Return a hint at what an unknown key may mean, to be added to a message, or an empty text."""
    *groups, key = _without_kind(location)
    kind = str(location[1]) if location[0] in _OF_SEVERAL_KINDS and len(groups) == 1 else None
    classes = _classes_of_group(config, groups)
    of_kind = [found for found in classes if kind is None or _tag_of(found) == kind]
    if key in _keys(classes):  # then the key belongs to another kind
        others = sorted(str(_tag_of(found)) for found in classes if key in found.model_fields)
        return (
            f": {kind} has no such key, {', '.join(others)} {'has' if len(others) == 1 else 'have'}"
        )
    nearest = difflib.get_close_matches(key, _keys(of_kind), n=1)
    return f", did you mean {nearest[0]}?" if nearest else ""


def _tag_of(config: type[Config]) -> str | None:
    """Return the kind that a class of settings stands for."""
    fields = [config.model_fields[name] for name in _TAGS if name in config.model_fields]
    return get_args(fields[0].annotation)[0] if fields else None


def _keys(classes: Iterable[type[Config]]) -> list[str]:
    return sorted({key for found in classes for key in found.model_fields})


def _classes_of_group(config: type[Config], groups: Sequence[str]) -> list[type[Config]]:
    """Return the classes of a group of settings, one for each of its kinds."""
    classes = [config]
    for group in groups:
        fields = [c.model_fields[group] for c in classes if group in c.model_fields]
        if fields:  # otherwise the group is a name of the user's, such as an arm's
            classes = [found for field in fields for found in _classes_in(field.annotation)]
    return classes


def _classes_in(annotation: Any) -> list[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [found for part in get_args(annotation) for found in _classes_in(part)]
