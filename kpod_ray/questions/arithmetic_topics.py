"""The stories of the built-in arithmetic questions, as data.

A story opens with a quantity, the ``total``; each event changes it by one reasoning step or two.
All numbers in a story are at least 2, so every counted noun is plural. Texts may use ``{name}``
(Tom, the library), ``{he}``, ``{his}``, ``{him}``, ``{items}``, the event's numbers ``{b}`` and
``{d}``, ``{n}`` of the opening and, in a reason, ``{sum}``: the arithmetic, such as ``12 + 5 = 17``.
"""

from __future__ import annotations

from typing import NamedTuple

Range = tuple[int, int]


class Event(NamedTuple):
    """What happens to the total."""

    story: str
    """Its sentence in the question, without capital and full stop."""
    steps: tuple[tuple[str, str], ...]
    """Formula and sentence of each reasoning step. Operands are ``total``, ``b``, ``d``, ``side``
    (the result of the step before) or a number; the last result is the new total."""
    b: Range = (2, 15)
    """Smallest and largest ``b``."""
    d: Range = (2, 9)
    """Smallest and largest ``d``."""
    after: str = "held"
    """What the total counts afterwards: a key of `Topic.asks`."""


class Topic(NamedTuple):
    """Stories about one thing."""

    who: tuple[str, ...]
    """A subject that is an *it*; empty: people."""
    items: tuple[str, ...]
    """What is counted, in the plural."""
    openings: tuple[str, ...]
    first: Range
    """Smallest and largest number at the start."""
    events: tuple[Event, ...]
    asks: dict[str, tuple[str, ...]]
    """The closing question for what the total counts: ``held``, ``money`` or the end of a story."""


HE = ("Tom", "Ben", "Omar", "Liam", "Diego", "Kenji", "Noah", "Ravi", "Luca", "Peter")
SHE = ("Anna", "Mia", "Priya", "Sofia", "Aisha", "Emma", "Lena", "Chloe", "Yuki", "Nora")
_HELD = (
    "How many {items} did {name} have in the end?",
    "How many {items} did {name} have then?",
)
_MONEY = ("How many dollars did {name} have in the end?",)


def _sold(story: str) -> Event:
    reason = "at {b} dollars each, the {items} brought {him} {sum} dollars"
    return Event(story, (("total * b", reason),), b=(2, 6), after="money")


MONEY_EVENTS = (
    Event(
        "{he} spent {b} dollars of the money on a book",
        (("total - b", "after buying the book, {he} had {sum} dollars"),),
        b=(4, 20),
        after="money",
    ),
    Event(
        "{his} uncle gave {him} {b} dollars more",
        (("total + b", "with the money from {his} uncle, {he} had {sum} dollars"),),
        b=(3, 25),
        after="money",
    ),
    Event(
        "{he} bought {b} tickets for the cinema, which cost {d} dollars each",
        (
            ("b * d", "the {b} tickets cost {sum} dollars"),
            ("total - side", "after paying for them, {he} had {sum} dollars"),
        ),
        b=(2, 5),
        d=(4, 9),
        after="money",
    ),
    Event(
        "{he} divided the money equally among {b} children",
        (("total / b", "each of the {b} children got {sum} dollars"),),
        b=(2, 6),
        after="child",
    ),
)
"""What can happen after everything was sold."""
MONEY_ASKS = {"money": _MONEY, "child": ("How many dollars did each of the children get?",)}
TOPICS = (
    Topic(
        who=(),
        items=("apples", "oranges", "pears", "bananas", "peaches"),
        openings=(
            "{name} bought {n} {items} at the market",
            "{name} had {n} {items} in a basket",
            "there were {n} {items} in {name}'s kitchen",
        ),
        first=(12, 60),
        events=(
            Event(
                "{he} bought {b} more {items}",
                (("total + b", "{he} bought {b} more, so {he} had {sum} {items}"),),
            ),
            Event(
                "{his} grandmother gave {him} {b} {items}",
                (("total + b", "with those from {his} grandmother, {he} had {sum} {items}"),),
            ),
            Event(
                "{he} gave {b} {items} to a neighbor",
                (("total - b", "giving {b} away left {him} with {sum} {items}"),),
            ),
            Event(
                "{he} used {b} of the {items} for a fruit salad",
                (("total - b", "the salad took {b} of them, so {sum} {items} were left"),),
            ),
            Event(
                "{he} bought {b} bags with {d} {items} in each",
                (
                    ("b * d", "the {b} bags held {sum} {items}"),
                    ("total + side", "together with the bags, {he} had {sum} {items}"),
                ),
                b=(2, 6),
            ),
            Event(
                "{his} sister brought {him} as many {items} as {he} already had",
                (("total * 2", "the gift doubled the number to {sum} {items}"),),
            ),
            Event(
                "{he} put all the {items} into {b} bowls, the same number in each",
                (("total / b", "each bowl got {sum} {items}"),),
                b=(2, 8),
                after="bowl",
            ),
            _sold("{he} sold all the {items} to {his} neighbors for {b} dollars each"),
        ),
        asks={"held": _HELD, "bowl": ("How many {items} were in each bowl?",)},
    ),
    Topic(
        who=(),
        items=("cookies", "muffins", "brownies", "cupcakes", "pretzels"),
        openings=(
            "{name} baked {n} {items} for the school fair",
            "on Saturday, {name} baked {n} {items}",
        ),
        first=(15, 72),
        events=(
            Event(
                "{he} baked another {b} {items}",
                (("total + b", "another {b} made {sum} {items}"),),
                b=(4, 24),
            ),
            Event(
                "{he} baked {b} more trays with {d} {items} on each tray",
                (
                    ("b * d", "the {b} trays held {sum} {items}"),
                    ("total + side", "with these, {he} had {sum} {items}"),
                ),
                b=(2, 5),
                d=(4, 9),
            ),
            Event(
                "{his} family ate {b} of the {items}",
                (("total - b", "the family ate {b}, so {sum} {items} were left"),),
            ),
            Event(
                "{he} took {b} {items} to {his} teacher",
                (("total - b", "without those for the teacher, {he} had {sum} {items}"),),
            ),
            Event(
                "{he} gave {d} {items} to each of {b} friends",
                (
                    ("b * d", "the {b} friends got {sum} {items} in all"),
                    ("total - side", "that left {him} with {sum} {items}"),
                ),
                b=(2, 5),
                d=(2, 5),
            ),
            Event(
                "{he} gave half of the {items} to {his} aunt",
                (("total / 2", "the other half, {sum} {items}, stayed with {him}"),),
            ),
            Event(
                "{he} packed all the {items} into {b} boxes, the same number in each",
                (("total / b", "each box held {sum} {items}"),),
                b=(3, 9),
                after="box",
            ),
            _sold("{he} sold all the {items} for {b} dollars each"),
        ),
        asks={"held": _HELD, "box": ("How many {items} were in each box?",)},
    ),
    Topic(
        who=("the town library", "the school library", "the children's library"),
        items=("books", "comics", "magazines"),
        openings=("{name} had {n} {items} about animals", "there were {n} {items} in {name}"),
        first=(40, 150),
        events=(
            Event(
                "it bought {b} new {items}",
                (("total + b", "the new ones brought the number to {sum} {items}"),),
                b=(5, 40),
            ),
            Event(
                "readers returned {b} {items}",
                (("total + b", "with the returned ones, there were {sum} {items}"),),
                b=(3, 25),
            ),
            Event(
                "a school donated {b} boxes with {d} {items} in each",
                (
                    ("b * d", "the {b} boxes contained {sum} {items}"),
                    ("total + side", "the donation made it {sum} {items}"),
                ),
                b=(2, 8),
                d=(4, 12),
            ),
            Event(
                "it lent {b} of the {items} to readers",
                (("total - b", "lending {b} of them left {sum} {items}"),),
                b=(5, 35),
            ),
            Event(
                "it gave away {b} old {items}",
                (("total - b", "without the old ones, there were {sum} {items}"),),
                b=(3, 20),
            ),
            Event(
                "teachers of {b} classes borrowed {d} {items} each",
                (
                    ("b * d", "the {b} teachers borrowed {sum} {items} together"),
                    ("total - side", "after that, {sum} {items} were still there"),
                ),
                b=(2, 5),
                d=(3, 9),
            ),
            Event(
                "the librarian put all the {items} on {b} shelves, the same number on each",
                (("total / b", "each shelf got {sum} {items}"),),
                b=(2, 9),
                after="shelf",
            ),
        ),
        asks={
            "held": ("How many {items} did the library have in the end?",),
            "shelf": ("How many {items} were on each shelf?",),
        },
    ),
    Topic(
        who=(),
        items=("pumpkins", "melons", "cabbages", "potatoes", "cucumbers"),
        openings=(
            "{name} harvested {n} {items} on the farm",
            "there were {n} {items} in {name}'s barn",
        ),
        first=(30, 120),
        events=(
            Event(
                "{he} picked {b} more {items} in the field",
                (("total + b", "picking {b} more gave {him} {sum} {items}"),),
                b=(5, 30),
            ),
            Event(
                "{he} harvested {b} more rows with {d} {items} in each row",
                (
                    ("b * d", "the {b} rows had {sum} {items}"),
                    ("total + side", "so {he} now had {sum} {items}"),
                ),
                b=(2, 8),
                d=(4, 12),
            ),
            Event(
                "{he} threw away {b} rotten {items}",
                (("total - b", "without the rotten ones, {sum} {items} were left"),),
                b=(2, 12),
            ),
            Event(
                "{he} sold {b} {items} to a restaurant",
                (("total - b", "the restaurant took {b}, so {sum} {items} remained"),),
                b=(5, 25),
            ),
            Event(
                "{he} filled {b} crates with {d} {items} each and sent them to the city",
                (
                    ("b * d", "the {b} crates took {sum} {items}"),
                    ("total - side", "that left {sum} {items} on the farm"),
                ),
                b=(2, 6),
                d=(3, 8),
            ),
            Event(
                "{he} loaded all the {items} onto {b} wagons, the same number on each",
                (("total / b", "each wagon carried {sum} {items}"),),
                b=(2, 6),
                after="wagon",
            ),
            _sold("{he} sold all the {items} at the market for {b} dollars each"),
        ),
        asks={"held": _HELD, "wagon": ("How many {items} were on each wagon?",)},
    ),
    Topic(
        who=(),
        items=("kilometers", "miles"),
        openings=(
            "{name} still had {n} {items} to go on a bike tour",
            "{name} was riding a bike to a lake that was still {n} {items} away",
        ),
        first=(40, 150),
        events=(
            Event(
                "{he} rode {b} {items} and had a break",
                (("total - b", "after these {b} {items}, {sum} {items} were left"),),
                b=(3, 20),
            ),
            Event(
                "{he} took a train for {b} {items} of the way",
                (("total - b", "the train shortened the way to {sum} {items}"),),
                b=(5, 25),
            ),
            Event(
                "{he} rode for {b} hours at {d} {items} per hour",
                (
                    ("b * d", "in {b} hours, {he} rode {sum} {items}"),
                    ("total - side", "so {he} still had to ride {sum} {items}"),
                ),
                b=(2, 5),
                d=(6, 12),
            ),
            Event(
                "a closed road made the way {b} {items} longer",
                (("total + b", "the closed road made it {sum} {items}"),),
                b=(2, 12),
            ),
            Event(
                "{he} decided to visit a castle, which added {b} {items}",
                (("total + b", "with the visit to the castle, it was {sum} {items}"),),
                b=(3, 18),
            ),
            Event(
                "{he} rode until half of that distance was left",
                (("total / 2", "the other half was {sum} {items}"),),
            ),
            Event(
                "{he} planned to ride the rest in {b} days, the same distance each day",
                (("total / b", "on each day, {he} had to ride {sum} {items}"),),
                b=(2, 7),
                after="day",
            ),
        ),
        asks={
            "held": (
                "How many {items} did {name} still have to go?",
                "How many {items} were left for {name}?",
            ),
            "day": ("How many {items} did {name} have to ride each day?",),
        },
    ),
    Topic(
        who=(),
        items=("dollars",),
        openings=(
            "{name} had {n} dollars in a piggy bank",
            "{name} had saved {n} dollars",
            "{name} wanted to buy a bicycle and had {n} dollars",
        ),
        first=(20, 120),
        events=(
            Event(
                "{he} got {b} dollars for {his} birthday",
                (("total + b", "with the birthday money, {he} had {sum} dollars"),),
                b=(5, 40),
            ),
            Event(
                "{he} walked a dog {b} times and got {d} dollars each time",
                (
                    ("b * d", "walking the dog brought {him} {sum} dollars"),
                    ("total + side", "so {he} then had {sum} dollars"),
                ),
                b=(2, 8),
            ),
            Event(
                "{he} bought a game for {b} dollars",
                (("total - b", "the game left {him} with {sum} dollars"),),
                b=(5, 30),
            ),
            Event(
                "{he} bought {b} comics for {d} dollars each",
                (
                    ("b * d", "the {b} comics cost {sum} dollars"),
                    ("total - side", "after that, {he} had {sum} dollars"),
                ),
                b=(2, 6),
                d=(2, 6),
            ),
            Event(
                "{his} grandfather doubled {his} savings",
                (("total * 2", "doubling the savings made {sum} dollars"),),
            ),
            Event(
                "{he} gave half of the money to {his} brother",
                (("total / 2", "half of the money, {sum} dollars, was left"),),
            ),
            Event(
                "{he} planned to spend the money over {b} weeks, the same amount each week",
                (("total / b", "for each week, {he} had {sum} dollars"),),
                b=(3, 8),
                after="week",
            ),
        ),
        asks={
            "held": ("How many dollars did {name} have in the end?",),
            "week": ("How many dollars could {name} spend each week?",),
        },
    ),
    Topic(
        who=(),
        items=("stickers", "marbles", "stamps", "seashells", "trading cards"),
        openings=(
            "{name} had a collection of {n} {items}",
            "{name} collected {n} {items} during the summer",
        ),
        first=(12, 90),
        events=(
            Event(
                "{he} found {b} more {items} in the attic",
                (("total + b", "the {b} from the attic made it {sum} {items}"),),
                b=(3, 25),
            ),
            Event(
                "{he} got {b} packs of {d} {items} for {his} birthday",
                (
                    ("b * d", "the {b} packs held {sum} {items}"),
                    ("total + side", "adding them, {he} had {sum} {items}"),
                ),
                b=(2, 6),
            ),
            Event(
                "{he} lost {b} of the {items}",
                (("total - b", "losing {b} left {him} with {sum} {items}"),),
            ),
            Event(
                "{he} gave {b} {items} to {his} cousin",
                (("total - b", "without those for {his} cousin, {he} had {sum} {items}"),),
            ),
            Event(
                "{he} doubled {his} collection by trading",
                (("total * 2", "doubling the collection made {sum} {items}"),),
            ),
            Event(
                "{he} counted them, and {his} best friend had {b} times as many {items}",
                (
                    ("total * b", "the friend had {sum} {items}"),
                    ("total + side", "together, they had {sum} {items}"),
                ),
                b=(2, 4),
                after="together",
            ),
            Event(
                "{he} put all the {items} into an album with {b} pages, equally many on each",
                (("total / b", "each page got {sum} {items}"),),
                b=(3, 9),
                after="page",
            ),
        ),
        asks={
            "held": _HELD,
            "together": ("How many {items} did the two have together?",),
            "page": ("How many {items} were on each page?",),
        },
    ),
    Topic(
        who=("the art club", "the chess club", "the kindergarten", "the summer camp"),
        items=("pencils", "crayons", "notebooks", "balloons"),
        openings=("{name} had {n} {items}", "there were {n} {items} in the cupboard of {name}"),
        first=(24, 100),
        events=(
            Event(
                "it ordered {b} more {items}",
                (("total + b", "the order raised the number to {sum} {items}"),),
                b=(5, 30),
            ),
            Event(
                "each of {b} parents brought {d} {items}",
                (
                    ("b * d", "the {b} parents brought {sum} {items}"),
                    ("total + side", "that made {sum} {items} altogether"),
                ),
                b=(2, 9),
            ),
            Event(
                "the children used up {b} of the {items}",
                (("total - b", "the children used {b}, so {sum} {items} were left"),),
                b=(3, 20),
            ),
            Event(
                "the leaders of {b} groups took {d} {items} each",
                (
                    ("b * d", "the {b} leaders took {sum} {items}"),
                    ("total - side", "after that, {sum} {items} remained"),
                ),
                b=(2, 5),
                d=(2, 6),
            ),
            Event(
                "it lent {b} {items} to the school next door",
                (("total - b", "lending {b} of them left {sum} {items}"),),
                b=(3, 15),
            ),
            Event(
                "a shop gave it twice as many {items} as it already had",
                (
                    ("total * 2", "the shop gave {sum} {items}"),
                    ("total + side", "with the gift, there were {sum} {items}"),
                ),
            ),
            Event(
                "it gave all the {items} to {b} children, equally many to each",
                (("total / b", "each child got {sum} {items}"),),
                b=(3, 9),
                after="pupil",
            ),
        ),
        asks={
            "held": ("How many {items} did {name} have in the end?",),
            "pupil": ("How many {items} did each child get?",),
        },
    ),
)
