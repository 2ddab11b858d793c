"""Load and check the templates of arithmetic questions, ``arithmetic_templates.yaml``.

The comment at the top of the YAML file explains every key.
"""

from __future__ import annotations

import functools
import importlib.resources
import operator
import string
from collections.abc import Callable, Mapping
from typing import Annotated, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
}
"""Operator of an equation -> its function."""
_WORDS = frozenset({"name", "he", "his", "him", "items", "b", "d"})
"""Placeholders that every template may use."""


def _checked(text: str, required: str | None) -> str:
    """Return the template unchanged if its placeholders are valid, else raise a `ValueError`.

    All placeholders must be known, and the required placeholder must occur exactly once.
    """
    words = [word for _, word, _, _ in string.Formatter().parse(text) if word is not None]
    if required is not None and words.count(required) != 1:
        raise ValueError(f"{text!r} must use {{{required}}} once")
    unknown = set(words) - _WORDS - {required}
    if unknown:
        raise ValueError(f"{text!r} uses unknown words: {', '.join(sorted(unknown))}")
    return text


def _rising(ends: tuple[int, int]) -> tuple[int, int]:
    """Return the ends of a range unchanged if valid; 2 is the minimum because nouns are plural."""
    if not 2 <= ends[0] <= ends[1]:
        raise ValueError(f"{ends} must rise from 2 or more")
    return ends


Text = Annotated[str, AfterValidator(lambda text: _checked(text, None))]
Opening = Annotated[str, AfterValidator(lambda text: _checked(text, "n"))]
Reason = Annotated[str, AfterValidator(lambda text: _checked(text, "sum"))]
Formula = Annotated[str, Field(pattern=r"^(total|b|d) [-+*/] (total|b|d|side|[2-9])$")]
Range = Annotated[tuple[int, int], AfterValidator(_rising)]
Asks = dict[str, Annotated[tuple[Text, ...], Field(min_length=1)]]
"""What the total counts, a key such as ``held`` -> templates of the closing question."""


class _Template(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Event(_Template):
    """An event that changes the total by one or more reasoning steps."""

    story: Text
    """Template of the event's sentence in the question."""
    steps: Annotated[dict[Formula, Reason], Field(min_length=1)]
    """Formula -> template of the rationale's sentence, in the order of the reasoning steps."""
    b: Range = (2, 15)
    """Smallest and largest value of the operand ``b``."""
    d: Range = (2, 9)
    """Smallest and largest value of the operand ``d``."""
    after: str = "held"
    """What the total counts after the event, a key of ``asks``."""


class Money(_Template):
    """Events and closing questions of a story whose total counts money, after everything was sold."""

    events: tuple[Event, ...]
    asks: Asks


class Topic(_Template):
    """Events, openings and closing questions of stories about one subject."""

    who: tuple[str, ...] = ()
    """Subjects with the pronoun "it", such as "the library"; if empty, the subject is a person."""
    items: Annotated[tuple[str, ...], Field(min_length=1)]
    """Nouns in the plural that the total counts."""
    openings: Annotated[tuple[Opening, ...], Field(min_length=1)]
    """Templates of the first sentence, which states the initial quantity ``{n}``."""
    first: Range
    """Smallest and largest initial quantity."""
    events: tuple[Event, ...]
    asks: Asks


class People(_Template):
    """First names, by pronoun."""

    he: Annotated[tuple[str, ...], Field(min_length=1)]
    she: Annotated[tuple[str, ...], Field(min_length=1)]


class Templates(_Template):
    """The content of ``arithmetic_templates.yaml``."""

    people: People
    money: Money
    topics: Annotated[tuple[Topic, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _close_every_story(self) -> Self:
        """Check that every key of ``after`` has a closing question."""
        for topic in self.topics:
            counted = {"held", *(event.after for event in topic.events)}
            _check_asks(counted - {"money"}, topic.asks)
        _check_asks({"money", *(event.after for event in self.money.events)}, self.money.asks)
        return self


def _check_asks(counted: set[str], asks: Asks) -> None:
    missing = counted - asks.keys()
    if missing:
        raise ValueError(f"no closing question asks for {', '.join(sorted(missing))}")


@functools.cache
def load_templates() -> Templates:
    """Return the checked content of ``arithmetic_templates.yaml``, the same frozen object in every call.

    Raises:
        ValidationError: A template, a range or a closing question is wrong (pydantic's error).
    """
    file = importlib.resources.files(__package__) / "arithmetic_templates.yaml"
    return Templates.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
