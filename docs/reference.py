"""Write ``docs/reference.md``, every setting with its meaning: ``python -m docs.reference``.

What it says is read from `kpod_ray.config`: names, types, limits, defaults and the docstrings of
the fields. Settings that several kinds of a group share are told once, where their class defines them.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kpod_ray.config import Config, RunConfig

PAGE = Path(__file__).with_name("reference.md")
INTRODUCTION = """\
# Every setting

Written by `python -m docs.reference` from the docstrings in `kpod_ray/config/`: change them and run it.

A config is a YAML file of these keys. On the command line a key is its dotted path, such as
`student.learning_rate=3e-5`, and the value is read as YAML, so that a whole group can be given, too:
`'teacher={kind: reference}'`. A key that isn't here is an error that names the nearest one.

A file may name others, whose settings hold where it sets none: `base: smoke.yaml`, or a list, of which
the later ones win. Their paths are relative to the file that names them.

`null` turns off, or leaves the choice to the program, as the meaning says.
"""
WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text", Any: "any"}
LIMITS = {annotated_types.Ge: "ge", annotated_types.Gt: "gt"}
LIMITS |= {annotated_types.Le: "le", annotated_types.Lt: "lt"}
LIMIT_WORDS = {"ge": "at least", "gt": "over", "le": "at most", "lt": "below"}
TAGS = ("kind", "source")
"""Fields that tell the kinds of a group apart."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table."""

    key: str
    type: str
    default: str
    meaning: str

    def __str__(self) -> str:
        cells = (f"`{self.key}`", self.type, self.default, self.meaning)
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def write_page() -> str:
    """Return the page: a table of what stands alone, then a chapter for each group."""
    fields = RunConfig.model_fields
    alone = [name for name in fields if not classes_of(fields[name].annotation)]
    parts = [INTRODUCTION, _table(_field_row(RunConfig, "", name, None) for name in alone)]
    parts += [_chapter(name) for name in fields if name not in alone]
    return "\n".join(parts)


def classes_of(annotation: Any) -> list[type[Config]]:
    """Return the classes of settings among what a field takes, in order."""
    if inspect.isclass(annotation) and issubclass(annotation, Config):
        return [annotation]
    return [found for part in typing.get_args(annotation) for found in classes_of(part)]


def _chapter(name: str) -> str:
    field = RunConfig.model_fields[name]
    kinds = classes_of(field.annotation)
    told = prose(field.description)
    parts = [f"## {name}\n", f"{told} {_when_left_out(field)}\n"]
    for owner in _owners(kinds):
        heirs = [kind for kind in kinds if issubclass(kind, owner)]
        if len(kinds) > 1:
            parts.append(f"### {name}: {_names_of(heirs, len(kinds))}\n")
        parts += [f"{text}\n" for text in (prose(inspect.getdoc(owner)),) if text != told]
        own = list(owner.model_fields) if len(kinds) == 1 else _own_fields(owner)
        default = field.default if type(field.default) is owner else None
        parts.append(_table(r for key in own for r in _rows(owner, f"{name}.", key, default)))
    return "\n".join(parts)


def _owners(kinds: Sequence[type[Config]]) -> list[type[Config]]:
    """Return the classes that define fields of these kinds, those that more kinds share first."""
    if len(kinds) == 1:
        return list(kinds)
    found: dict[type[Config], int] = {}
    for kind in kinds:
        for owner in reversed(kind.__mro__):
            if issubclass(owner, Config) and _own_fields(owner):
                found[owner] = found.get(owner, 0) + 1
    return sorted(found, key=lambda owner: -found[owner])


def _own_fields(owner: type[Config]) -> list[str]:
    """Return the fields that a class itself defines."""
    own = inspect.get_annotations(owner)
    return [name for name in owner.model_fields if name in own]


def _names_of(kinds: Sequence[type[Config]], num_all: int) -> str:
    tags = [tag_of(kind) for kind in kinds]
    if len(kinds) == num_all:
        return "every kind"
    names = " or ".join(tag[1] for tag in tags if tag)
    return f"{tags[0][0]} {names}" if tags[0] else "without a kind"


def tag_of(kind: type[BaseModel]) -> tuple[str, str] | None:
    """Return the field that tells this kind from others, and its value."""
    for name in TAGS:
        if name in kind.model_fields:
            values = typing.get_args(kind.model_fields[name].annotation)
            return name, values[0]
    return None


def _rows(owner: type[Config], prefix: str, name: str, defaults: Any) -> Iterator[Row]:
    """Yield the row of a field and, if it is a group, those of its fields."""
    field = owner.model_fields[name]
    yield _field_row(owner, prefix, name, defaults)
    inner = f"{prefix}{name}."
    if typing.get_origin(field.annotation) is dict:
        inner += "NAME."
    default = _default_of(field, name, defaults)
    for group in classes_of(field.annotation):
        for key in group.model_fields:
            yield from _rows(group, inner, key, default if isinstance(default, group) else None)


def _field_row(owner: type[Config], prefix: str, name: str, defaults: Any) -> Row:
    field = owner.model_fields[name]
    described = prose(field.description)
    if name in TAGS and not described:
        described = f"Says that `{prefix.rstrip('.')}` is of this kind."
    default = "required" if field.is_required() else _shown(_default_of(field, name, defaults))
    return Row(f"{prefix}{name}", _type_words(field.annotation, field.metadata), default, described)


def _default_of(field: FieldInfo, name: str, defaults: Any) -> Any:
    """Return a field's default inside a group of these defaults, or the field's own."""
    if defaults is not None:
        return getattr(defaults, name)
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _shown(value: Any) -> str:
    if isinstance(value, Config):
        tag = tag_of(type(value))
        return f"`{tag[0]}: {tag[1]}`" if tag else "as below"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _when_left_out(field: FieldInfo) -> str:
    if field.is_required():
        return "Must be given."
    tag = tag_of(type(field.default))
    return f"Left out, it is `{tag[0]}: {tag[1]}`." if tag else "All of it may be left out."


def _type_words(annotation: Any, limits: Sequence[Any]) -> str:
    """Say in words what a field takes."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _type_words(annotation.__origin__, annotation.__metadata__)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(annotation) if part is not type(None)]
        words = " or ".join(_type_words(part, limits) for part in parts)
        has_null = len(parts) < len(typing.get_args(annotation))
        return words + ("," if "," in words else "") * has_null + " or `null`" * has_null
    if typing.get_origin(annotation) is Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(annotation))
    if typing.get_origin(annotation) is tuple:
        return f"list of {_type_words(typing.get_args(annotation)[0], ())}s"
    if typing.get_origin(annotation) is dict:
        return "mapping"
    if classes_of(annotation):
        return "group"
    return ", ".join([WORDS[annotation], *_limit_words(limits)])


def _limit_words(limits: Sequence[Any]) -> Iterator[str]:
    for limit in _single(limits):
        for kind, name in LIMITS.items():
            if isinstance(limit, kind):
                yield f"{LIMIT_WORDS[name]} {getattr(limit, name):g}"


def _single(limits: Sequence[Any]) -> Iterator[Any]:
    """Yield limits one by one; pydantic may hold several in one."""
    for limit in limits:
        yield from limit.metadata if isinstance(limit, FieldInfo) else [limit]


def prose(docstring: str | None) -> str:
    """Return a docstring as one line of Markdown, in the words of YAML."""
    line = " ".join((docstring or "").split())
    return re.sub(r"\bNone\b", "`null`", re.sub(r"``(.+?)``", r"`\1`", line))


def _table(rows: Iterable[Row]) -> str:
    head = "| key | takes | default | meaning |\n|---|---|---|---|"
    return "\n".join([head, *map(str, rows), ""])


if __name__ == "__main__":
    PAGE.write_text(write_page())
