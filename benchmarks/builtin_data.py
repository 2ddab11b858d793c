"""Training texts, tokenizer and test questions of the built-in models (`benchmarks.builtin_models`)."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from kpod_ray.config import ArithmeticQuestions
from kpod_ray.data.prompts import plain_text, target_text
from kpod_ray.questions.arithmetic import generate_questions
from kpod_ray.questions.arithmetic_verbose import (
    StoryTexts,
    draw_verbose_story,
    is_reserved,
    load_verbose_templates,
)
from kpod_ray.records import Question

MOST_STEPS = 8
"""Most reasoning steps of a question."""
TEST_SEED = 1_000_003
"""Seed of the test questions."""
_NUM_TEXTS = 8000
"""Number of stories whose words become the vocabulary; a few hundred show every word."""
_PIECES = r" ?[0-9]| ?[A-Za-z]+| ?[^\sA-Za-z0-9]|\s"
"""What may be a token: a digit, a word or a sign, each with the blank before it, or white space."""
_CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ message['content'] }}\n\n"
    "{% elif message['role'] == 'user' %}Q: {{ message['content'] }}\nA:\n"
    "{% else %}{{ message['content'] }}\n\n{% endif %}{% endfor %}"
)
"""Renders what ``template: plain`` renders."""
_IGNORED = -100
"""Label of a token that isn't in the loss."""


class Stage(NamedTuple):
    """A part of a training with texts of one kind."""

    end: int
    """Number of updates after which the stage ends."""
    most_steps: int
    """Most reasoning steps of a text."""
    share_whole: float
    """Probability of a whole rationale; other rationales are those of `without_filler`."""


class Row(NamedTuple):
    """Token ids of one training text."""

    prompt_ids: list[int]
    target_ids: list[int]

    def num_tokens(self) -> int:
        """Return the number of tokens of prompt and target."""
        return len(self.prompt_ids) + len(self.target_ids)


def story_texts(story: StoryTexts) -> tuple[str, str]:
    """Return the prompt and the target of a story, as ``template: plain`` renders them."""
    return plain_text(story.question), target_text(story.rationale, story.answer)[0]


def reserved_story(rng: random.Random, num_steps: int) -> StoryTexts:
    """Draw a story of ``num_steps`` reasoning steps that no seed of the generator gives."""
    while True:
        story = draw_verbose_story(rng, num_steps)
        if is_reserved(story.question):
            return story


def without_filler(rationale: str) -> str:
    """Return a rationale with little more than the name and the equation of each reasoning step."""
    names = "|".join(load_verbose_templates().names)
    steps = re.findall(rf"({names})\b[^0-9]*([0-9 +*/=-]+[0-9])", rationale)
    return " ".join(f"From {name} {equation}." for name, equation in steps)


def verbose_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer of the verbose stories, the same in every call.

    Each digit is a token, and so is each word and sign of the stories, with the blank before it. Other
    words are tokens of one byte each. ``<|end|>`` ends a sequence, ``<|pad|>`` pads.
    """
    pieces = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    rng = random.Random("built-in vocabulary")
    vocabulary = set(pre_tokenizers.ByteLevel.alphabet())
    for index in range(_NUM_TEXTS):
        text = "".join(story_texts(reserved_story(rng, 1 + index % MOST_STEPS)))
        vocabulary.update(piece for piece, _ in pieces.pre_tokenize_str(text))
    words = ["<|end|>", "<|pad|>", *sorted(vocabulary)]
    # Without merges, a piece is a token if it is in the vocabulary, and else one token a byte.
    model = BPE({word: i for i, word in enumerate(words)}, merges=[], ignore_merges=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pieces
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>", model_max_length=1024
    )
    fast.chat_template = _CHAT_TEMPLATE
    return fast


def training_rows(
    tokenizer: Any, rng: random.Random, stage: Stage, num_reasoning_steps: int
) -> list[Row]:
    """Draw the training texts of an update in a stage, the shortest first.

    All together have ``num_reasoning_steps`` reasoning steps or a few more.
    """
    prompts, targets = list[str](), list[str]()
    num_drawn = 0
    while num_drawn < num_reasoning_steps:
        num_steps = rng.randint(1, stage.most_steps)
        num_drawn += num_steps
        story = reserved_story(rng, num_steps)
        if rng.random() >= stage.share_whole:
            story = story._replace(rationale=without_filler(story.rationale))
        prompt, target = story_texts(story)
        prompts.append(prompt)
        targets.append(target + tokenizer.eos_token)
    ids = [tokenizer(texts, add_special_tokens=False).input_ids for texts in (prompts, targets)]
    return sorted(map(Row, *ids), key=Row.num_tokens)


def padded_rows(rows: Sequence[Row], pad_id: int) -> tuple[Tensor, Tensor]:
    """Return token ids and labels, int64 [B, L] each; only targets have labels."""
    length = max(row.num_tokens() for row in rows)
    ids = torch.full((len(rows), length), pad_id)
    labels = torch.full((len(rows), length), _IGNORED)
    for i, row in enumerate(rows):
        start, end = len(row.prompt_ids), row.num_tokens()
        ids[i, :end] = torch.tensor(row.prompt_ids + row.target_ids)
        labels[i, start:end] = torch.tensor(row.target_ids)
    return ids, labels


def unseen_questions(num_questions: int) -> list[Question]:
    """Return test questions of 1 to `MOST_STEPS` reasoning steps, by number of steps, evenly spread."""
    config = ArithmeticQuestions(
        num_train=1, num_test=num_questions, max_steps=MOST_STEPS, style="verbose"
    )
    tests = [q for q in generate_questions(config, TEST_SEED) if q.split == "test"]
    return sorted(tests, key=lambda question: question.reference_rationale.count("="))
