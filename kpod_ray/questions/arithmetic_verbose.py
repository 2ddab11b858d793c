"""Generate arithmetic word problems with verbose rationales (``style: verbose``).

A question states an initial quantity and events, each of the next person in the order of the alphabet,
that change it. The rationale has one sentence for every event, with one correct equation ``a op b = c``
between phrases of filler; the last c is the answer. Divisions are exact, and all numbers are small.
``arithmetic_verbose.yaml`` has the sentences and the range of the numbers.

A quarter of all questions, chosen by a hash of the text (`is_reserved`), is reserved for the training of
the built-in models ``builtin:teacher`` and ``builtin:student``: no seed of the generator gives them.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import itertools
import random
import string
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from kpod_ray.questions.arithmetic_templates import OPERATIONS

_WORDS = frozenset({"name", "items", "place"})
"""Placeholders that every template may use."""
_NUM_WORDS = range(3, 6)
"""Valid numbers of words of an opener, a lead and a tail, ``{name}`` not counted."""
_RESERVED = 64
"""Number of values of a hash's first byte, out of 256, that mean a reserved question."""


def _checked(text: str, required: Sequence[str] = ()) -> str:
    """Return a template unchanged; raise a ValueError unless its placeholders are valid."""
    words = [word for _, word, _, _ in string.Formatter().parse(text) if word is not None]
    for word in required:
        if words.count(word) != 1:
            raise ValueError(f"{text!r} must use {{{word}}} once")
    unknown = set(words) - _WORDS - set(required)
    if unknown:
        raise ValueError(f"{text!r} uses unknown words: {', '.join(sorted(unknown))}")
    return text


def _checked_filler(text: str) -> str:
    num_words = len(text.replace("{name}", "").split())
    if num_words not in _NUM_WORDS:
        raise ValueError(f"{text!r} has {num_words} words, 3 to 5 are expected")
    return _checked(text)


Sign = Literal["+", "-", "*", "/"]
Texts = Annotated[tuple[str, ...], Field(min_length=1)]
Opening = Annotated[str, AfterValidator(lambda text: _checked(text, ("name", "n")))]
Story = Annotated[str, AfterValidator(lambda text: _checked(text, ("name", "b")))]
Text = Annotated[str, AfterValidator(_checked)]
Filler = Annotated[str, AfterValidator(_checked_filler)]
Lead = Annotated[Filler, AfterValidator(lambda text: _checked(text, ("name",)))]


class _Template(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Events(_Template):
    """The events of one operation, ``total op b``."""

    b: tuple[int, int]
    """Smallest and largest value of the number of an event."""
    stories: Annotated[tuple[Story, ...], Field(min_length=1)]


class Templates(_Template):
    """The content of ``arithmetic_verbose.yaml``, whose comment explains every key."""

    smallest: int
    largest: int
    names: Texts
    items: Texts
    places: Texts
    openings: Annotated[tuple[Opening, ...], Field(min_length=1)]
    events: dict[Sign, Events]
    asks: Annotated[tuple[Text, ...], Field(min_length=1)]
    first: Annotated[tuple[Filler, ...], Field(min_length=1)]
    later: Annotated[tuple[Filler, ...], Field(min_length=1)]
    leads: Annotated[tuple[Lead, ...], Field(min_length=1)]
    tails: Annotated[tuple[Filler, ...], Field(min_length=1)]


class StoryTexts(NamedTuple):
    """The texts of a story: question, rationale and answer."""

    question: str
    rationale: str
    answer: str


@functools.cache
def load_verbose_templates() -> Templates:
    """Return the checked content of ``arithmetic_verbose.yaml``, the same frozen object in every call.

    Raises:
        ValidationError: A template is wrong (pydantic's error).
    """
    file = importlib.resources.files(__package__) / "arithmetic_verbose.yaml"
    return Templates.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))


def is_reserved(question: str) -> bool:
    """Return whether a question may only train the built-in models; true of a quarter of all texts."""
    return hashlib.sha256(question.encode()).digest()[0] < _RESERVED


def draw_verbose_story(rng: random.Random, num_steps: int) -> StoryTexts:
    """Draw a question with ``num_steps`` reasoning steps, reserved or not.

    ``num_steps`` must be less than the number of names in the templates.
    """
    templates = load_verbose_templates()
    words = {"items": rng.choice(templates.items), "place": rng.choice(templates.places)}
    # The people come in the order of the alphabet, so that who comes next is easily learned.
    start = rng.randrange(len(templates.names))
    name, *actors = itertools.islice(itertools.cycle(templates.names), start, start + num_steps + 1)
    total = rng.randint(templates.smallest, templates.largest)
    opening = rng.choice(templates.openings)
    sentences = [_sentence(opening.format_map({**words, "name": name, "n": total}))]
    reasons: list[str] = []
    for actor in actors:
        valid = _valid_operations(total)
        sign = rng.choice(list(valid))
        b, result = rng.choice(valid[sign])
        story = rng.choice(templates.events[sign].stories)
        words["name"] = actor
        sentences.append(_sentence(story.format_map({**words, "b": b})))
        reasons.append(_reason(rng, f"{total} {sign} {b} = {result}", words, is_first=not reasons))
        total = result
    asked = rng.choice(templates.asks).format_map(words)
    question = f"{' '.join(sentences)} {asked[0].upper()}{asked[1:]}"
    return StoryTexts(question, " ".join(reasons), str(total))


@functools.cache
def _valid_operations(total: int) -> dict[Sign, list[tuple[int, int]]]:
    """Return operator -> right operands, each with its result; only valid results, no empty lists."""
    templates = load_verbose_templates()
    valid: dict[Sign, list[tuple[int, int]]] = {}
    for sign, events in templates.events.items():
        for b in range(events.b[0], events.b[1] + 1):
            is_exact = sign != "/" or total % b == 0
            result = OPERATIONS[sign](total, b)
            if is_exact and templates.smallest <= result <= templates.largest:
                valid.setdefault(sign, []).append((b, result))
    return valid


def _reason(rng: random.Random, equation: str, words: dict[str, str], *, is_first: bool) -> str:
    """Return a sentence of the rationale: opener, lead, equation, items and tail."""
    templates = load_verbose_templates()
    opener = rng.choice(templates.first if is_first else templates.later)
    lead, tail = rng.choice(templates.leads), rng.choice(templates.tails)
    return _sentence(f"{opener}, {lead} {equation} {{items}} {tail}".format_map(words))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
