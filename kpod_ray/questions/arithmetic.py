"""Generate arithmetic word problems with reference rationales, terse or verbose.

`arithmetic_verbose` makes the verbose stories. The question of a terse story states an initial quantity
(the total) and events that change it. The rationale has one sentence for every reasoning step, with one
correct equation ``a op b = c``; the last c is the answer. Divisions are exact, and all results lie in
[2, ``largest_result``]. The sentences come from ``arithmetic_templates.yaml``.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping

from kpod_ray.config import ArithmeticQuestions
from kpod_ray.errors import KpodError
from kpod_ray.questions.arithmetic_templates import OPERATIONS, Event, Topic, load_templates
from kpod_ray.questions.arithmetic_verbose import StoryTexts, draw_verbose_story, is_reserved
from kpod_ray.records import Question, Split

MAX_QUESTIONS = 100_000
"""Largest number of questions; the templates have at least so many different texts for any number of
steps."""
_CONNECTORS = ("", "then ", "after that, ", "later, ")
"""Beginnings of the events after the first. Each is used once, which allows stories of five events."""
_DRAWS = 8
"""Attempts to draw numbers for an event whose results are valid."""


@dataclasses.dataclass
class _Story:
    """A question under construction."""

    topic: Topic
    words: dict[str, str | int]
    """Values of the templates' placeholders, such as ``{name}`` and ``{items}``."""
    total: int
    """The quantity after the events so far."""
    connectors: list[str]
    """Entries of `_CONNECTORS` that aren't used yet, in random order."""
    counts: str = "held"
    """What the total counts; the key of the closing question in ``asks``."""
    sentences: list[str] = dataclasses.field(default_factory=list)
    """Sentences of the question so far."""
    reasons: list[str] = dataclasses.field(default_factory=list)
    """Sentences of the rationale so far, one for each reasoning step."""
    events: list[Event] = dataclasses.field(default_factory=list)
    """Events so far; no event occurs twice."""


def generate_questions(config: ArithmeticQuestions, seed: int) -> list[Question]:
    """Generate ``num_train`` training questions, followed by ``num_test`` test questions.

    All texts differ, and no verbose one is reserved for the training of the built-in models
    (`is_reserved`). Every question has a number as its answer and a reference rationale; the ids are
    ``arith-train-00000``, ``arith-test-00000``, and so on. In each split, the number of reasoning steps
    cycles through ``min_steps`` to ``max_steps``. The same seed gives the same questions on every
    machine. ``config.train_seed`` and ``config.test_seed`` have priority over ``seed``, each for its
    split. The test questions don't depend on ``num_train`` and ``train_seed``: they are generated first.

    Raises:
        KpodError: More than `MAX_QUESTIONS` questions, training and test together, are asked for.
    """
    num_questions = config.num_train + config.num_test
    if num_questions > MAX_QUESTIONS:
        raise KpodError(
            f"questions: {num_questions} arithmetic questions were asked for, at most "
            f"{MAX_QUESTIONS} can be made; lower questions.num_train or questions.num_test"
        )
    seen: set[str] = set()
    test_seed = seed if config.test_seed is None else config.test_seed
    train_seed = seed if config.train_seed is None else config.train_seed
    test = _split_questions(config, test_seed, "test", seen)
    return _split_questions(config, train_seed, "train", seen) + test


def _split_questions(
    config: ArithmeticQuestions, seed: int, split: Split, seen: set[str]
) -> list[Question]:
    # random.Random hashes a text by SHA-512, not by hash(), which differs between processes
    rng = random.Random(f"arithmetic/{seed}/{split}")
    spread = config.max_steps - config.min_steps + 1
    questions = []
    for index in range(config.num_train if split == "train" else config.num_test):
        num_steps = config.min_steps + index % spread
        text, rationale, answer = _new_story(rng, num_steps, config, seen)
        question_id = f"arith-{split}-{index:05d}"
        questions.append(Question(question_id, text, answer, "number", (), split, rationale))
    return questions


def _new_story(
    rng: random.Random, num_steps: int, config: ArithmeticQuestions, seen: set[str]
) -> StoryTexts:
    """Return the texts of a new story, and add its question to ``seen``."""
    draw = _draw_verbose if config.style == "verbose" else _draw_terse
    while True:
        texts = draw(rng, num_steps, config.largest_result)
        if texts is not None and texts.question not in seen:
            seen.add(texts.question)
            return texts


def _draw_verbose(rng: random.Random, num_steps: int, largest: int) -> StoryTexts | None:
    """Draw a verbose story, whose results are below any ``largest``; return None for a reserved one."""
    texts = draw_verbose_story(rng, num_steps)
    return None if is_reserved(texts.question) else texts


def _draw_terse(rng: random.Random, num_steps: int, largest: int) -> StoryTexts | None:
    """Draw a terse story; return None if no event or no numbers fit."""
    story = _draw_story(rng, num_steps, largest)
    if story is None:
        return None
    return StoryTexts(" ".join(story.sentences), " ".join(story.reasons), str(story.total))


def _draw_story(rng: random.Random, num_steps: int, largest: int) -> _Story | None:
    """Draw a story with ``num_steps`` reasoning steps; return None if no event or no numbers fit."""
    story = _begin_story(rng)
    if story.total > largest:
        return None
    while len(story.reasons) < num_steps:
        events = _possible_events(story, num_steps - len(story.reasons))
        if not events or not _add_event(rng, story, rng.choice(events), largest):
            return None
    asks = story.topic.asks | load_templates().money.asks
    question = rng.choice(asks[story.counts]).format_map(story.words)
    story.sentences.append(question)
    return story


def _begin_story(rng: random.Random) -> _Story:
    """Draw a topic, an initial quantity and a subject, and return a story with its opening sentence."""
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
    """Return the unused events with at most ``num_steps_left`` reasoning steps.

    An event after which no other event is possible (``after`` is neither ``held`` nor ``money``) is
    returned only if its steps complete the story.
    """
    events = load_templates().money.events if story.counts == "money" else story.topic.events
    return [
        event
        for event in events
        if all(event is not used for used in story.events)
        and len(event.steps) <= num_steps_left
        and (len(event.steps) == num_steps_left or event.after in ("held", "money"))
    ]


def _add_event(rng: random.Random, story: _Story, event: Event, largest: int) -> bool:
    """Draw numbers for an event and add the event to the story.

    If none of `_DRAWS` draws gives valid results, return False and leave the story unchanged.
    """
    for _ in range(_DRAWS):
        numbers = {"b": rng.randint(*event.b), "d": rng.randint(*event.d), "total": story.total}
        sums = _calculate(event, numbers, largest)
        if sums is not None:
            break
    else:
        return False
    connector = story.connectors.pop() if story.events else ""
    words = story.words | numbers
    story.sentences.append(_sentence(connector + event.story, words))
    for reason, result in zip(event.steps.values(), sums, strict=True):
        story.reasons.append(_sentence(reason, words | {"sum": result}))
    story.total = numbers["side"]
    story.counts = event.after
    story.events.append(event)
    return True


def _calculate(event: Event, numbers: dict[str, int], largest: int) -> list[str] | None:
    """Calculate the reasoning steps, ``steps``, of an event; ``largest`` is the largest valid result.

    ``numbers`` maps the name of each operand to its value; ``side`` is set to the result of the last
    step.

    Returns:
        The equation of each step, such as ``12 + 5 = 17``; None if a result isn't in [2, ``largest``] or
        a division isn't exact.
    """
    sums = []
    for formula in event.steps:
        left_name, sign, right_name = formula.split()
        left = numbers[left_name]
        right = numbers[right_name] if right_name in numbers else int(right_name)
        result = OPERATIONS[sign](left, right)
        if not 2 <= result <= largest or (sign == "/" and left % right):
            return None
        numbers["side"] = result
        sums.append(f"{left} {sign} {right} = {result}")
    return sums


def _sentence(template: str, words: Mapping[str, str | int]) -> str:
    """Fill a template; begin the sentence with a capital letter and end it with a full stop."""
    text = template.format_map(words)
    return f"{text[0].upper()}{text[1:]}."
