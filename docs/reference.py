"""Write ``docs/reference.md``, the reference of all settings: ``python -m docs.reference``.

Names, types, limits, defaults and meanings are read from the classes in `kpod_ray.config` and the
docstrings of their fields. A setting that several kinds of a group share is listed once, in the table of
the class that defines the field.
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

This page is written by `python -m docs.reference` from the docstrings in `kpod_ray/config/`. Change the
docstrings, not this page.

A config is a YAML file with these keys. On the command line, a setting is its dotted path and a value,
such as `student.learning_rate=3e-5`. The value is read as YAML, so that a whole group can be set, too:
`'teacher={kind: reference}'`. A mapping is merged into its group, unless it names another kind of the
group; after `schedule=null`, say, the group starts from its defaults. Of repeated settings, the last one
wins. An unknown key is an error, which names the most similar key.

Files and values are YAML that JSON can hold: each key once, finite numbers, no dates. `1e-4` is a
number; `yes`, `no`, `on` and `off` are booleans, and texts only in quotes.

The key `base` names another config file, or a list of files, whose settings are used where the config
itself sets none: `base: smoke.yaml`. In a list, later files override earlier ones. The paths are
relative to the file with the key `base`.

The value `null` turns a feature off or lets the program choose a value, as the meaning of the key says.
"""
WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text", Any: "any"}
LIMITS = {annotated_types.Ge: "ge", annotated_types.Gt: "gt"}
LIMITS |= {annotated_types.Le: "le", annotated_types.Lt: "lt"}
LIMIT_WORDS = {"ge": "at least", "gt": "over", "le": "at most", "lt": "below"}
TAGS = ("kind", "source")
"""Fields whose value selects the kind of a group."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table: a setting with its type, default and meaning."""

    key: str
    type: str
    default: str
    meaning: str

    def __str__(self) -> str:
        cells = (f"`{self.key}`", self.type, self.default, self.meaning)
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def write_page() -> str:
    """Return the page in Markdown: a table of the single settings, then a chapter for each group."""
    fields = RunConfig.model_fields
    alone = [name for name in fields if not classes_of(fields[name].annotation)]
    parts = [INTRODUCTION, _table(_field_row(RunConfig, "", name, None) for name in alone)]
    parts += [_chapter(name) for name in fields if name not in alone]
    return "\n".join(parts)


def classes_of(annotation: Any) -> list[type[Config]]:
    """Return the config classes in a type annotation, such as those of a union, in order."""
    if inspect.isclass(annotation) and issubclass(annotation, Config):
        return [annotation]
    return [found for part in typing.get_args(annotation) for found in classes_of(part)]


def _chapter(name: str) -> str:
    field = RunConfig.model_fields[name]
    kinds = classes_of(field.annotation)
    description = prose(field.description)
    parts = [f"## {name}\n", f"{description} {_when_left_out(field)}\n"]
    for owner in _owners(kinds):
        subclasses = [kind for kind in kinds if issubclass(kind, owner)]
        if len(kinds) > 1:
            parts.append(f"### {name}: {_names_of(subclasses, len(kinds))}\n")
        parts += [f"{text}\n" for text in (prose(inspect.getdoc(owner)),) if text != description]
        own = list(owner.model_fields) if len(kinds) == 1 else _own_fields(owner)
        default = field.default if type(field.default) is owner else None
        parts.append(_table(r for key in own for r in _rows(owner, f"{name}.", key, default)))
    return "\n".join(parts)


def _owners(kinds: Sequence[type[Config]]) -> list[type[Config]]:
    """Return the classes that define the fields of these kinds, starting with the most shared ones.

    Args:
        kinds: config classes, one for each kind of a group; may share base classes.
    """
    if len(kinds) == 1:
        return list(kinds)
    found: dict[type[Config], int] = {}
    for kind in kinds:
        for owner in reversed(kind.__mro__):
            if issubclass(owner, Config) and _own_fields(owner):
                found[owner] = found.get(owner, 0) + 1
    return sorted(found, key=lambda owner: -found[owner])


def _own_fields(owner: type[Config]) -> list[str]:
    """Return the names of the fields that a class itself defines, without inherited ones."""
    own = inspect.get_annotations(owner)
    return [name for name in owner.model_fields if name in own]


def _names_of(kinds: Sequence[type[Config]], num_all: int) -> str:
    """Return the heading of a table that holds for some of ``num_all`` kinds, such as ``kind vllm``."""
    tags = [tag_of(kind) for kind in kinds]
    if len(kinds) == num_all:
        return "every kind"
    names = " or ".join(tag[1] for tag in tags if tag)
    return f"{tags[0][0]} {names}" if tags[0] else "without a kind"


def tag_of(kind: type[BaseModel]) -> tuple[str, str] | None:
    """Return the name and the value of the field that selects this kind; None if there is none."""
    for name in TAGS:
        if name in kind.model_fields:
            values = typing.get_args(kind.model_fields[name].annotation)
            return name, values[0]
    return None


def _rows(owner: type[Config], prefix: str, name: str, defaults: Any) -> Iterator[Row]:
    """Yield the row of a field and, if the field is a group, the rows of the group's fields.

    Args:
        owner: class of the field.
        prefix: dotted path of the class's group, with a dot at the end.
        name: name of the field.
        defaults: instance of ``owner`` with the defaults; None uses the defaults of the fields.
    """
    field = owner.model_fields[name]
    yield _field_row(owner, prefix, name, defaults)
    inner = f"{prefix}{name}."
    if typing.get_origin(field.annotation) is dict:
        inner += "NAME."
    default = _default_of(field, name, defaults)
    groups = classes_of(field.annotation)
    # a group of several kinds has a chapter of its own, also where a mapping holds such groups
    for group in groups if len(groups) == 1 else ():
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
    """Return the default of a field: from an instance with the defaults, or the field's own."""
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
    """Return what a field takes in words, such as ``number, at least 0, or `null```."""
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
        return f"list of {_plural(_type_words(typing.get_args(annotation)[0], ()))}"
    if typing.get_origin(annotation) is dict:
        return "mapping"
    if classes_of(annotation):
        return "group"
    return ", ".join([WORDS[annotation], *_limit_words(limits)])


def _plural(words: str) -> str:
    """Return the plural of ``text``, ``list of texts`` or ``number, over 0``."""
    noun, comma, limits = words.partition(",")
    noun = noun.replace("list of", "lists of") if noun.startswith("list ") else f"{noun}s"
    return noun + comma + limits


def _limit_words(limits: Sequence[Any]) -> Iterator[str]:
    for limit in _single(limits):
        for kind, name in LIMITS.items():
            if isinstance(limit, kind):
                value = getattr(limit, name)
                yield (
                    f"{LIMIT_WORDS[name]} {value:,.0f}"
                    if value >= 1e4
                    else (f"{LIMIT_WORDS[name]} {value:g}")
                )


def _single(limits: Sequence[Any]) -> Iterator[Any]:
    """Yield single limits; a pydantic ``FieldInfo`` may hold several limits."""
    for limit in limits:
        yield from limit.metadata if isinstance(limit, FieldInfo) else [limit]


def prose(docstring: str | None) -> str:
    """Return a docstring as one line of Markdown, with ``null`` for None as in YAML."""
    line = " ".join((docstring or "").split())
    return re.sub(r"\bNone\b", "`null`", re.sub(r"``(.+?)``", r"`\1`", line))


def _table(rows: Iterable[Row]) -> str:
    head = "| key | takes | default | meaning |\n|---|---|---|---|"
    return "\n".join([head, *map(str, rows), ""])


if __name__ == "__main__":
    PAGE.write_text(write_page())
