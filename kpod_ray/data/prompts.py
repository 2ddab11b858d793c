"""Text of prompts and targets. Teacher, token weighter, student and evaluation share this rendering."""

from __future__ import annotations

import dataclasses
import itertools
import string
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import jinja2

from kpod_ray.data.tokens import encode_filled, has_control_tokens
from kpod_ray.errors import KpodError
from kpod_ray.records import Question

CLOSING = "Therefore, the answer is "
"""Text between the rationale and the answer in a target."""
NEXT_QUESTION = "\nQ:"
"""Stop string of generation from a plain prompt: the model begins to write another question."""
Template = Literal["chat", "plain"]
"""``chat`` is the chat template of the model's tokenizer; ``plain`` writes ``Q:`` and ``A:`` lines."""
Shot = tuple[str, str]
"""A worked example: the text of a question and its target."""
Message = dict[str, str]
"""One message of a chat, with the keys ``role`` and ``content``."""


@dataclasses.dataclass(frozen=True)
class PromptAffixes:
    """Texts that are added to the question of every prompt."""

    system: str = ""
    """System message, or the first paragraph of a plain prompt; empty for none."""
    instruction: str = ""
    """Line below each question; empty for none."""

    def asked(self, text: str) -> str:
        """Return the text of a question with the instruction, if any, on the next line."""
        return f"{text}\n{self.instruction}" if self.instruction else text


NO_AFFIXES = PromptAffixes()


def question_text(question: Question) -> str:
    """Return the text of a question, with its choices, if any, on the lines below.

    These lines are ``Answer choices:``, ``A. ...``, ``B. ...``, and so on; at most 26 choices.
    """
    if not question.choices:
        return question.question
    letters = string.ascii_uppercase
    lines = [f"{letters[i]}. {choice}" for i, choice in enumerate(question.choices)]
    return "\n".join([question.question, "Answer choices:", *lines])


def target_text(rationale: str, answer: str) -> tuple[str, int]:
    """Return the target of a student: rationale, `CLOSING`, answer and full stop.

    White space at the end of the rationale is left out; the rationale may be empty. The answer has no
    full stop.

    Returns:
        The text, and the character position at which the answer segment starts: the blank before the
        closing words, or 0 if there is no rationale.
    """
    rationale = rationale.rstrip()
    separator = " " if rationale else ""
    return f"{rationale}{separator}{CLOSING}{answer}.", len(rationale)


def worked_examples(questions: Iterable[Question], num_shots: int) -> list[Shot]:
    """Return worked examples made of the first questions with a reference rationale and a gold answer.

    A question that is itself a worked example is left out of its own prompt. One example more than
    ``num_shots`` is returned, so that this prompt has ``num_shots`` examples, too.

    Args:
        questions: Training questions, read only as far as needed.
        num_shots: Number of worked examples of one prompt, at least 0.

    Returns:
        ``num_shots + 1`` examples in the order of the questions; none if ``num_shots`` is 0.

    Raises:
        KpodError: Too few questions have both.
    """
    num_needed = num_shots + 1 if num_shots else 0
    usable = (q for q in questions if q.reference_rationale and q.answer)
    worked = list(itertools.islice(usable, num_needed))
    if len(worked) < num_needed:
        raise KpodError(
            f"teacher.num_shots={num_shots}: only {len(worked)} training questions carry a "
            "reference rationale and a gold answer, and one more than the number of shots is needed"
        )
    return [(question_text(q), target_text(q.reference_rationale, q.answer)[0]) for q in worked]


def shots_for(text: str, shots: Sequence[Shot]) -> list[Shot]:
    """Return the worked examples of one question's prompt, which never include the question itself.

    The argument ``text`` is from `question_text`, and ``shots`` from `worked_examples`. The result is
    ``shots`` without the example of the question, or without the last one if no example has the
    question; none if ``shots`` is empty.
    """
    return [shot for shot in shots if shot[0] != text][: max(0, len(shots) - 1)]


def messages(
    text: str, shots: Sequence[Shot] = (), affixes: PromptAffixes = NO_AFFIXES
) -> list[Message]:
    """Return the messages of a chat prompt: system message, if any, worked examples, question.

    Each worked example becomes a user message and an assistant message; each question, also of an
    example, has the instruction below. ``text`` is from `question_text`.
    """
    turns: list[Message] = []
    if affixes.system:
        turns.append({"role": "system", "content": affixes.system})
    for question, target in shots:
        turns.append({"role": "user", "content": affixes.asked(question)})
        turns.append({"role": "assistant", "content": target})
    return [*turns, {"role": "user", "content": affixes.asked(text)}]


def plain_text(text: str, shots: Sequence[Shot] = (), affixes: PromptAffixes = NO_AFFIXES) -> str:
    """Return a plain prompt: system paragraph, worked examples and question, with Q: and A: lines.

    The arguments are those of `messages`. The text ends with ``A:`` and a newline.
    """
    opening = f"{affixes.system}\n\n" if affixes.system else ""
    worked = "".join(f"Q: {affixes.asked(asked)}\nA:\n{target}\n\n" for asked, target in shots)
    return f"{opening}{worked}Q: {affixes.asked(text)}\nA:\n"


def encode_prompt(
    tokenizer: Any,
    text: str,
    template: Template,
    shots: Sequence[Shot] = (),
    affixes: PromptAffixes = NO_AFFIXES,
) -> list[int]:
    """Return the token ids of a prompt, up to the position where the model begins its answer.

    The ids contain the special tokens of the chat template, or the BOS token before a plain prompt if
    the tokenizer puts one before texts; no EOS token is added. Control tokens that the question or a
    worked example spells out become ordinary text. The prompt isn't truncated. ``text`` is from
    `question_text`; all worked examples in ``shots`` are used.

    Raises:
        KpodError: The template is ``chat``, and the tokenizer has no chat template, or the template
            refuses the messages, such as a system message.
    """
    render = _render_chat if template == "chat" else _render_plain
    written = [text, *itertools.chain.from_iterable(shots)]
    if not any(has_control_tokens(tokenizer, part) for part in written):
        # The text of the prompt contains all of its special tokens already.
        prompt = render(tokenizer, text, shots, affixes)
        ids: list[int] = tokenizer(prompt, add_special_tokens=False).input_ids
        return ids
    places = [f"\ue000{i}\ue001" for i in range(len(written))]
    places_of_shots = list(zip(places[1::2], places[2::2], strict=True))
    frame = render(tokenizer, places[0], places_of_shots, affixes)
    return encode_filled(tokenizer, frame, dict(zip(places, written, strict=True)))


def _render_chat(tokenizer: Any, text: str, shots: Sequence[Shot], affixes: PromptAffixes) -> str:
    """Return the text of a chat prompt, with the control tokens of the model's chat template."""
    model = f"model {tokenizer.name_or_path}"
    if not tokenizer.chat_template:
        raise KpodError(f"{model}: it has no chat template; set template: plain")
    turns = messages(text, shots, affixes)
    try:
        prompt: str = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=False
        )
    except jinja2.TemplateError as error:
        advice = "leave out system_prompt or " if affixes.system else ""
        raise KpodError(
            f"{model}: its chat template fails ({error}); {advice}set template: plain"
        ) from error
    return prompt


def _render_plain(tokenizer: Any, text: str, shots: Sequence[Shot], affixes: PromptAffixes) -> str:
    """Return the text of a plain prompt, with the BOS token if the tokenizer puts it before texts."""
    prompt = plain_text(text, shots, affixes)
    # Some tokenizers define a BOS token and don't put it before a text: ask the tokenizer.
    if tokenizer.bos_token and tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]:
        return str(tokenizer.bos_token) + prompt
    return prompt


@dataclasses.dataclass(frozen=True)
class PromptBuilder:
    """Builds the prompts of one phase."""

    template: Template
    """Kind of the prompts."""
    shots: Sequence[Shot] = ()
    """Result of `worked_examples`: one more than a prompt has, or none."""
    affixes: PromptAffixes = NO_AFFIXES
    """System message and instruction."""

    def encode(self, tokenizer: Any, text: str) -> list[int]:
        """Return the token ids of a question's prompt, see `encode_prompt` and its errors.

        The worked examples are those of `shots_for`, which never include the question itself. ``text``
        is the text of the question, from `question_text`.
        """
        shots = shots_for(text, self.shots)
        return encode_prompt(tokenizer, text, self.template, shots, self.affixes)
