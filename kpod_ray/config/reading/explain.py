"""Messages of one line for the validation errors of pydantic, with hints at the key that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from kpod_ray.config.base import NOT_BOOLEAN, Config
from kpod_ray.config.reading.strict_yaml import shown

_OF_SEVERAL_KINDS = ("questions", "teacher", "weighting")
"""Groups that are a union of kinds. pydantic inserts the kind after the group's name in error paths."""
_FURTHER_SETS = ("evaluation", "also")
"""Mapping whose values are a union of kinds: here the kind follows the name of the set."""
_TAGS = ("kind", "source")
"""Keys that say of which kind a group is."""
_MAX_PROBLEMS = 3
_MESSAGES = {
    **dict.fromkeys(
        ("model_type", "model_attributes_type", "dict_type"),
        "expected a group of settings, such as {key: value}",
    ),
    "tuple_type": "expected a list, such as [a, b]",
}
"""Type of pydantic's error -> a message without the words of Python."""


def explain_all(problems: Sequence[Mapping[str, Any]], config: type[Config]) -> str:
    """Return the first validation errors as one line, and the number of further ones."""
    lines = [explain(problem, config) for problem in problems[:_MAX_PROBLEMS]]
    left = len(problems) - len(lines)
    return "; ".join([*lines, *([f"and {left} more"] if left else [])])


def explain(problem: Mapping[str, Any], config: type[Config]) -> str:
    """Return one validation error of pydantic as a message of one line.

    The message has the dotted path (except for an error of the whole config) and the reason. For an
    unknown key, the path of the most similar key is named: one of the same group, or else of any group.

    Args:
        problem: One element of ``ValidationError.errors()``.
        config: Class that was validated, to which the path is relative.
    """
    message = _MESSAGES.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    location, value = problem["loc"], problem["input"]
    if problem["type"] == NOT_BOOLEAN:
        location, value = (*location, problem["ctx"]["name"]), problem["ctx"]["value"]
    if not location:
        return message
    path = ".".join(_short(part) for part in _without_kind(location))
    if problem["type"] == "extra_forbidden":
        return f"unknown key {path}{_hint(config, problem['loc'])}"
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{path}.{_tag_problem(problem)}"
    if problem["type"] == "missing":
        return f"{path} is missing"
    is_group = isinstance(value, Mapping)  # a whole group is too long for a message
    return f"{path}: {message}" + ("" if is_group else f" (got {shown(value)})")


def _tag_problem(problem: Mapping[str, Any]) -> str:
    context = problem["ctx"]
    name = context["discriminator"].strip("'")
    if problem["type"] == "union_tag_not_found":
        return f"{name} is missing"
    return f"{name}: expected {context['expected_tags']} (got {shown(context['tag'])})"


def _short(key: str) -> str:
    return key if 0 < len(key) <= 60 and key.isprintable() else shown(key)


def _without_kind(location: Sequence[str | int]) -> list[str]:
    at = _index_of_kind(location)
    return [str(part) for index, part in enumerate(location) if index != at]


def _index_of_kind(location: Sequence[str | int]) -> int | None:
    """Return the index in an error path where pydantic inserts a kind; None for a group of one kind."""
    if tuple(location[:2]) == _FURTHER_SETS:
        return 3
    return 1 if location[0] in _OF_SEVERAL_KINDS else None


def _hint(config: type[Config], location: Sequence[str | int]) -> str:
    """Return a hint at what an unknown key may mean, to be added to a message, or an empty text."""
    *groups, key = _without_kind(location)
    at = _index_of_kind(location)
    kind = str(location[at]) if at is not None and len(groups) == at else None
    classes = _classes_of_group(config, groups)
    of_kind = [found for found in classes if kind is None or _tag_of(found) == kind]
    if key in _keys(classes):  # then the key belongs to another kind
        others = sorted(str(_tag_of(found)) for found in classes if key in found.model_fields)
        return (
            f": {kind} has no such key, {', '.join(others)} {'has' if len(others) == 1 else 'have'}"
        )
    nearest = difflib.get_close_matches(key, _keys(of_kind), n=1)
    paths = [".".join([*groups, *nearest])] if nearest else _elsewhere(config, key)
    return f", did you mean {' or '.join(paths)}?" if paths else ""


def _elsewhere(config: type[Config], key: str) -> list[str]:
    """Return up to two dotted paths, in any group, that end in a key or else in the most similar key."""
    paths = list(dict.fromkeys(_all_paths(config, "")))
    names = {path.rpartition(".")[2] for path in paths}
    nearest = difflib.get_close_matches(key, names, n=1, cutoff=0.8)
    return [path for path in paths if path.rpartition(".")[2] in nearest][:2]


def _all_paths(config: type[Config], prefix: str) -> Iterator[str]:
    for name, field in config.model_fields.items():
        yield f"{prefix}{name}"
        if "dict" not in str(field.annotation):  # inside a mapping, a name of the user's follows
            for inner in _classes_in(field.annotation):
                yield from _all_paths(inner, f"{prefix}{name}.")


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
