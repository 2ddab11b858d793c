"""Arithmetic word problems made on the spot, with their reasoning.

A question opens with a quantity and tells events that change it; its rationale has one sentence
with one true ``a op b = c`` for every reasoning step, and the last c is the answer. Divisions are
exact and all results lie between 2 and ``largest_result``. A seed gives the same questions on every
machine.
"""

from __future__ import annotations

import dataclasses
import operator
import random
from collections.abc import Callable, Mapping

from kpod_ray.config import ArithmeticQuestions
from kpod_ray.errors import KpodError
from kpod_ray.questions.arithmetic_templates import Event, Topic, load_templates
from kpod_ray.records import Question, Split

MAX_QUESTIONS = 100_000
"""So many different questions can be made for any number of steps."""
_CONNECTORS = ("", "then ", "after that, ", "later, ")  # one for each event but the first of five
_DRAWS = 8
_OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
}


@dataclasses.dataclass
class _Story:
    """A question while it is being told."""

    topic: Topic
    words: dict[str, str | int]
    total: int
    connectors: list[str]
    """What may still stand between two events."""
    counts: str = "held"
    """What the total counts: the key of the closing question."""
    sentences: list[str] = dataclasses.field(default_factory=list)
    reasons: list[str] = dataclasses.field(default_factory=list)
    told: list[Event] = dataclasses.field(default_factory=list)


def generate_questions(config: ArithmeticQuestions, seed: int) -> list[Question]:
    """Return ``num_train`` training and then ``num_test`` test questions, all texts different.

    Numbers of reasoning steps are as evenly spread as can be over ``min_steps`` to ``max_steps``.
    The test questions do not depend on ``num_train``.

    Raises:
        KpodError: More than `MAX_QUESTIONS` are asked for.
    """
    num_questions = config.num_train + config.num_test
    if num_questions > MAX_QUESTIONS:
        raise KpodError(
            f"questions: {num_questions} arithmetic questions were asked for, at most "
            f"{MAX_QUESTIONS} can be made; lower questions.num_train or questions.num_test"
        )
    seen: set[str] = set()
    test = _split_questions(config, seed, "test", seen)
    return _split_questions(config, seed, "train", seen) + test


def _split_questions(
    config: ArithmeticQuestions, seed: int, split: Split, seen: set[str]
) -> list[Question]:
    rng = random.Random(f"arithmetic/{seed}/{split}")  # text seeds by SHA-512, on every machine
    spread = config.max_steps - config.min_steps + 1
    questions = []
    for index in range(config.num_train if split == "train" else config.num_test):
        text, rationale, answer = _new_story(
            rng, config.min_steps + index % spread, config.largest_result, seen
        )
        question_id = f"arith-{split}-{index:05d}"
        questions.append(Question(question_id, text, answer, "number", (), split, rationale))
    return questions


def _new_story(
    rng: random.Random, num_steps: int, largest: int, seen: set[str]
) -> tuple[str, str, str]:
    while True:
        story = _tell(rng, num_steps, largest)
        if story is None:
            continue
        text = " ".join(story.sentences)
        if text not in seen:
            seen.add(text)
            return text, " ".join(story.reasons), str(story.total)


def _tell(rng: random.Random, num_steps: int, largest: int) -> _Story | None:
    story = _open(rng)
    if story.total > largest:
        return None
    while len(story.reasons) < num_steps:
        events = _possible_events(story, num_steps - len(story.reasons))
        if not events or not _happen(rng, story, rng.choice(events), largest):
            return None
    asks = story.topic.asks | load_templates().money.asks
    question = rng.choice(asks[story.counts]).format_map(story.words)
    story.sentences.append(question)
    return story


def _open(rng: random.Random) -> _Story:
    templates = load_templates()
    topic = rng.choice(templates.topics)
    first = rng.randint(*topic.first)
    words: dict[str, str | int] = {"items": rng.choice(topic.items), "n": first}
    if topic.who:
        words |= {"name": rng.choice(topic.who), "he": "it", "his": "its", "him": "it"}
    elif rng.random() < 0.5:
        words |= {"name": rng.choice(templates.people.he), "he": "he", "his": "his", "him": "him"}
    else:
        words |= {"name": rng.choice(templates.people.she), "he": "she", "his": "her", "him": "her"}
    story = _Story(topic, words, first, rng.sample(_CONNECTORS, len(_CONNECTORS)))
    story.sentences.append(_sentence(rng.choice(topic.openings), words))
    return story


def _possible_events(story: _Story, num_steps_left: int) -> list[Event]:
    """Return the events not told yet that fit in and don't end the story too early."""
    events = load_templates().money.events if story.counts == "money" else story.topic.events
    return [
        event
        for event in events
        if all(event is not told for told in story.told)
        and len(event.steps) <= num_steps_left
        and (len(event.steps) == num_steps_left or event.after in ("held", "money"))
    ]


def _happen(rng: random.Random, story: _Story, event: Event, largest: int) -> bool:
    """Tell an event with numbers that work out; return whether some were found."""
    for _ in range(_DRAWS):
        numbers = {"b": rng.randint(*event.b), "d": rng.randint(*event.d), "total": story.total}
        sums = _work_out(event, numbers, largest)
        if sums is not None:
            break
    else:
        return False
    connector = story.connectors.pop() if story.told else ""
    words = story.words | numbers
    story.sentences.append(_sentence(connector + event.story, words))
    for reason, result in zip(event.steps.values(), sums, strict=True):
        story.reasons.append(_sentence(reason, words | {"sum": result}))
    story.total, story.counts = numbers["side"], event.after
    story.told.append(event)
    return True


def _work_out(event: Event, numbers: dict[str, int], largest: int) -> list[str] | None:
    """Return each step's arithmetic, with the last result left in ``side``; None if not sound."""
    sums = []
    for formula in event.steps:
        left_name, sign, right_name = formula.split()
        left = numbers[left_name]
        right = numbers[right_name] if right_name in numbers else int(right_name)
        result = _OPERATIONS[sign](left, right)
        if not 2 <= result <= largest or (sign == "/" and left % right):
            return None
        numbers["side"] = result
        sums.append(f"{left} {sign} {right} = {result}")
    return sums


def _sentence(template: str, words: Mapping[str, str | int]) -> str:
    text = template.format_map(words)
    return f"{text[0].upper()}{text[1:]}."
