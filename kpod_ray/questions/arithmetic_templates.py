"""The templates of the built-in arithmetic questions, from ``arithmetic_templates.yaml``, checked.

The head of that file says what each key means.
"""

from __future__ import annotations

import functools
import importlib.resources
import string
from typing import Annotated, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_WORDS = frozenset({"name", "he", "his", "him", "items", "b", "d"})


def _checked(text: str, required: str | None) -> str:
    """Return a text that uses known words, and the required one exactly once.

    Raises:
        ValueError: A word is unknown, or the required one is missing or occurs twice.
    """
    words = [word for _, word, _, _ in string.Formatter().parse(text) if word is not None]
    if required is not None and words.count(required) != 1:
        raise ValueError(f"{text!r} must use {{{required}}} once")
    unknown = set(words) - _WORDS - {required}
    if unknown:
        raise ValueError(f"{text!r} uses unknown words: {', '.join(sorted(unknown))}")
    return text


def _rising(ends: tuple[int, int]) -> tuple[int, int]:
    if not 2 <= ends[0] <= ends[1]:
        raise ValueError(f"{ends} must rise from 2 or more")
    return ends


Text = Annotated[str, AfterValidator(lambda text: _checked(text, None))]
Opening = Annotated[str, AfterValidator(lambda text: _checked(text, "n"))]
Reason = Annotated[str, AfterValidator(lambda text: _checked(text, "sum"))]
Formula = Annotated[str, Field(pattern=r"^(total|b|d) [-+*/] (total|b|d|side|[2-9])$")]
Range = Annotated[tuple[int, int], AfterValidator(_rising)]
Asks = dict[str, Annotated[tuple[Text, ...], Field(min_length=1)]]
"""What the total counts -> closing questions."""


class _Template(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Event(_Template):
    """What happens to the total."""

    story: Text
    steps: Annotated[dict[Formula, Reason], Field(min_length=1)]
    """Formula -> reason, in the order of the reasoning steps."""
    b: Range = (2, 15)
    d: Range = (2, 9)
    after: str = "held"
    """What the total counts afterwards."""


class Money(_Template):
    """What can happen after everything was sold."""

    events: tuple[Event, ...]
    asks: Asks


class Topic(_Template):
    """Stories about one thing."""

    who: tuple[str, ...] = ()
    items: Annotated[tuple[str, ...], Field(min_length=1)]
    openings: Annotated[tuple[Opening, ...], Field(min_length=1)]
    first: Range
    events: tuple[Event, ...]
    asks: Asks


class People(_Template):
    """Names of people."""

    he: Annotated[tuple[str, ...], Field(min_length=1)]
    she: Annotated[tuple[str, ...], Field(min_length=1)]


class Templates(_Template):
    """All templates."""

    people: People
    money: Money
    topics: Annotated[tuple[Topic, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _close_every_story(self) -> Self:
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
    """Return the templates of the package."""
    file = importlib.resources.files(__package__) / "arithmetic_templates.yaml"
    return Templates.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
