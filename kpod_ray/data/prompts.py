"""Text of prompts and targets: one rendering for teacher, weighter, student and evaluation."""

from __future__ import annotations

import dataclasses
import itertools
import string
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from kpod_ray.errors import KpodError
from kpod_ray.records import Question

CLOSING = "Therefore, the answer is "
"""Words between the rationale and the answer."""
NEXT_QUESTION = "\nQ:"
"""Where a plain continuation ends: a model that goes on to ask the next question is stopped."""
Template = Literal["chat", "plain"]
Shot = tuple[str, str]
"""A worked example: the text of a question and what is written below it."""
Message = dict[str, str]
"""A turn of a chat: ``role`` and ``content``."""


@dataclasses.dataclass(frozen=True)
class PromptAffixes:
    """What stands around every question."""

    system: str = ""
    """Before everything else; empty for nothing."""
    instruction: str = ""
    """Below the question; empty for nothing."""

    def asked(self, text: str) -> str:
        """Return a question with the instruction below it."""
        return f"{text}\n{self.instruction}" if self.instruction else text


NO_AFFIXES = PromptAffixes()


def question_text(question: Question) -> str:
    """Return the question, with lettered answer choices below it if it has any."""
    if not question.choices:
        return question.question
    letters = string.ascii_uppercase
    lines = [f"{letters[i]}. {choice}" for i, choice in enumerate(question.choices)]
    return "\n".join([question.question, "Answer choices:", *lines])


def target_text(rationale: str, answer: str) -> tuple[str, int]:
    """Return what a student writes, and where in it the answer segment starts (a character)."""
    rationale = rationale.rstrip()
    separator = " " if rationale else ""
    return f"{rationale}{separator}{CLOSING}{answer}.", len(rationale)


def worked_examples(questions: Iterable[Question], num_shots: int) -> list[Shot]:
    """Return the first questions with a reference rationale: one more than wanted.

    A question that is itself among them is left out of its own prompt, so the extra one keeps the
    number of shots the same.

    Raises:
        KpodError: There are too few.
    """
    wanted = num_shots + 1 if num_shots else 0
    worked = list(itertools.islice((q for q in questions if q.reference_rationale), wanted))
    if len(worked) < wanted:
        raise KpodError(
            f"teacher.num_shots={num_shots}: only {len(worked)} training questions carry a "
            "reference rationale, and one more than the number of shots is needed"
        )
    return [(question_text(q), target_text(q.reference_rationale, q.answer)[0]) for q in worked]


def shots_for(text: str, shots: Sequence[Shot]) -> list[Shot]:
    """Return the worked examples for one question: never itself, always one fewer than there are.

    Args:
        text: of the question.
        shots: one more than wanted (`worked_examples`), or none.
    """
    return [shot for shot in shots if shot[0] != text][: max(0, len(shots) - 1)]


def messages(
    text: str, shots: Sequence[Shot] = (), affixes: PromptAffixes = NO_AFFIXES
) -> list[Message]:
    """Return the turns of a chat that asks one question, worked examples first."""
    turns: list[Message] = []
    if affixes.system:
        turns.append({"role": "system", "content": affixes.system})
    for asked, said in shots:
        turns.append({"role": "user", "content": affixes.asked(asked)})
        turns.append({"role": "assistant", "content": said})
    return [*turns, {"role": "user", "content": affixes.asked(text)}]


def plain_text(text: str, shots: Sequence[Shot] = (), affixes: PromptAffixes = NO_AFFIXES) -> str:
    """Return the text that asks one question by Q: and A: lines, worked examples first."""
    opening = f"{affixes.system}\n\n" if affixes.system else ""
    worked = "".join(f"Q: {affixes.asked(asked)}\nA:\n{said}\n\n" for asked, said in shots)
    return f"{opening}{worked}Q: {affixes.asked(text)}\nA:\n"


def encode_prompt(
    tokenizer: Any,
    text: str,
    template: Template,
    shots: Sequence[Shot] = (),
    affixes: PromptAffixes = NO_AFFIXES,
) -> list[int]:
    """Return the token ids a model continues: worked examples, the question, the turn to answer.

    Raises:
        KpodError: The template is ``chat``, and the model has none.
    """
    if template == "chat":
        if not tokenizer.chat_template:
            raise KpodError(
                f"model {tokenizer.name_or_path}: it has no chat template; set template: plain"
            )
        turns = messages(text, shots, affixes)
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    else:
        prompt = plain_text(text, shots, affixes)
        if tokenizer.bos_token and tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]:
            prompt = tokenizer.bos_token + prompt
    ids: list[int] = tokenizer(prompt, add_special_tokens=False).input_ids
    return ids


@dataclasses.dataclass(frozen=True)
class PromptBuilder:
    """How a question becomes a prompt."""

    template: Template
    shots: Sequence[Shot] = ()
    """Worked examples: one more than are put before a question, or none."""
    affixes: PromptAffixes = NO_AFFIXES

    def encode(self, tokenizer: Any, text: str) -> list[int]:
        """Return the token ids that a model continues.

        Raises:
            KpodError: The template is ``chat``, and the model has none.
        """
        shots = shots_for(text, self.shots)
        return encode_prompt(tokenizer, text, self.template, shots, self.affixes)
