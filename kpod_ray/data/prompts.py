"""Text of prompts and targets: one rendering for teacher, weighter, student and evaluation."""

from __future__ import annotations

import string
from collections.abc import Sequence
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


def worked_examples(questions: Sequence[Question], num_shots: int) -> list[Shot]:
    """Return the first questions with a reference rationale: one more than wanted.

    A question that is itself among them is left out of its own prompt, so the extra one keeps the
    number of shots the same.
    """
    worked = [q for q in questions if q.reference_rationale][: num_shots + 1 if num_shots else 0]
    return [(question_text(q), target_text(q.reference_rationale, q.answer)[0]) for q in worked]


def encode_prompt(
    tokenizer: Any, text: str, template: Template, shots: Sequence[Shot] = ()
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
        messages = _messages(text, shots)
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    else:
        prompt = "".join(f"Q: {asked}\nA:\n{said}\n\n" for asked, said in shots)
        prompt += f"Q: {text}\nA:\n"
        if tokenizer.bos_token and tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]:
            prompt = tokenizer.bos_token + prompt
    ids: list[int] = tokenizer(prompt, add_special_tokens=False).input_ids
    return ids


def _messages(text: str, shots: Sequence[Shot]) -> list[dict[str, str]]:
    messages = []
    for asked, said in shots:
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": said})
    return [*messages, {"role": "user", "content": text}]
