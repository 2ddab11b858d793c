"""Read the question and the reply from a conversation, and rows of several columns as one question.

Turns are ``{"role": "user", "content": ...}`` as in OpenAI's messages, or ``{"from": "human", "value":
...}`` as in ShareGPT.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from kpod_ray.questions.columns import TableColumns
from kpod_ray.storage.user_files import FieldError, optional_text_field

_ASKING = frozenset({"user", "human"})
_REPLYING = frozenset({"assistant", "gpt", "model", "chatgpt", "bot"})
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Fields of a turn in which servers return what a model thought before its reply."""


@dataclasses.dataclass(frozen=True)
class Exchange:
    """A question and its reply."""

    question: str
    reply: str
    """Empty if no turn replies."""


def plain_row(row: Mapping[str, Any], columns: TableColumns) -> Mapping[str, Any]:
    """Return a row whose question column holds the whole text of the question.

    A conversation gives the question, and in place of itself the reply. Alpaca's ``input`` follows the
    instruction after an empty line. A question that is a list of turns is the last user's turn of them.

    Raises:
        FieldError: The conversation can't be read, or a text is no text.
    """
    if columns.messages:
        exchange = read_exchange(row, columns.messages)
        return {**row, columns.question: exchange.question, columns.messages: exchange.reply}
    asked = row.get(columns.question)
    if isinstance(asked, list) and asked and isinstance(asked[0], dict):
        return {**row, columns.question: read_exchange(row, columns.question).question}
    context = optional_text_field(row, columns.context).strip() if columns.context else ""
    if not context:
        return row
    instruction = optional_text_field(row, columns.question).strip()
    return {**row, columns.question: f"{instruction}\n\n{context}".strip()}


def read_exchange(row: Mapping[str, Any], name: str) -> Exchange:
    """Return the last reply in the conversation of column ``name``, and the user's turn before it.

    Earlier turns and a system message are left out. Without a reply, the question is the last turn of
    the user. A conversation may be a list of turns, the same as JSON text (in a CSV file), or lists of
    roles and texts by name. What a turn holds as ``reasoning_content``, ``reasoning`` or ``thinking``
    stands in ``<think>`` and ``</think>`` before its text.

    Raises:
        FieldError: The column is missing or holds no such conversation, or no turn is the user's.
    """
    turns = [_turn(turn, name) for turn in _turns(row.get(name), name)]
    replies = [index for index, (role, _) in enumerate(turns) if role in _REPLYING]
    asked = turns[: replies[-1]] if replies else turns
    questions = [text for role, text in asked if role in _ASKING]
    if not questions:
        raise FieldError(f"field {name!r} holds no turn of a user (role user or human)")
    return Exchange(questions[-1], turns[replies[-1]][1] if replies else "")


def _turns(value: Any, name: str) -> list[Any]:
    """Return the turns of a conversation."""
    if value is None:
        raise FieldError(f"field {name!r} is missing")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise FieldError(f"field {name!r} must be a list of turns, not text") from None
    if isinstance(value, dict) and value and all(isinstance(v, list) for v in value.values()):
        value = [dict(zip(value, turn, strict=True)) for turn in zip(*value.values(), strict=False)]
    if not isinstance(value, list):
        raise FieldError(f"field {name!r} must be a list of turns, not {type(value).__name__}")
    return value


def _turn(turn: Any, name: str) -> tuple[str, str]:
    """Return the role and the text of a turn."""
    keys = ("from", "value") if isinstance(turn, dict) and "from" in turn else ("role", "content")
    if not isinstance(turn, dict) or not isinstance(turn.get(keys[0]), str):
        raise FieldError(f"field {name!r} holds a turn without role and content, or from and value")
    text = _content(turn.get(keys[1]), keys[1], name)
    thoughts = next((turn[key] for key in _THOUGHTS if isinstance(turn.get(key), str)), "")
    if thoughts.strip():
        text = f"<think>\n{thoughts.strip()}\n</think>\n\n{text}"
    return turn[keys[0]].lower(), text


def _content(value: Any, key: str, name: str) -> str:
    """Return the text of a turn, whose content may be a list of parts."""
    if isinstance(value, list):
        parts = [part["text"] for part in value if _is_text_part(part)]
        if len(parts) < len(value):
            raise FieldError(f"field {name!r} holds a part of a turn that isn't text")
        value = "".join(parts)
    try:
        return optional_text_field({key: value}, key)
    except FieldError as error:
        raise FieldError(f"field {name!r}: {error}") from None


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)
