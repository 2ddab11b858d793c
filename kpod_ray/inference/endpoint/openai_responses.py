"""Parse the answers of OpenAI-compatible servers.

Servers deviate from the protocol, so every field may be missing or have any type. Optional fields that
can't be read count as unknown; an answer without a text is an `UnreadableAnswer`.
"""

from __future__ import annotations

import datetime
import email.utils
import math
from typing import Any

import httpx

from kpod_ray.inference.records import Completion

_BROKEN_OFF = {"error", "abort"}
"""Finish reasons with which servers report that the generation was aborted."""
_MOST_TOKENS = 2**31
"""Numbers of tokens must be smaller: a completion stores a 32-bit integer."""


class UnreadableAnswer(ValueError):
    """An answer with a status code of success, but without a text, or of an aborted generation."""


def read_completion(request_id: str, response: httpx.Response) -> Completion:
    """Return the completion that an answer with a status code of success contains.

    Only the first choice is read. Reasoning in a field of its own (``reasoning_content`` or
    ``reasoning``) precedes the content, with a newline in between. An empty string counts as a text,
    null doesn't. Unpaired surrogates in the text become U+FFFD. A missing finish reason is empty, a
    missing or invalid number of tokens is 0, and the log-probability is None unless every token has one.

    Args:
        request_id: id of the request, which becomes the id of the completion.
        response: answer of ``/completions`` or ``/chat/completions``, whose status isn't checked.

    Raises:
        UnreadableAnswer: The answer isn't JSON, contains no text, or has the finish reason ``error`` or
            ``abort``.
    """
    try:
        answer = response.json()
        choice = answer["choices"][0]
        usage = answer.get("usage")
        text = _text(choice)
        finish_reason = str(choice.get("finish_reason") or "")
        if finish_reason in _BROKEN_OFF:
            raise ValueError(f"finish reason {finish_reason}")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        body = _decoded(response)
        raise UnreadableAnswer(f"an answer without a text ({error!r}): {body}") from error
    num_tokens = _count(usage, "completion_tokens")
    num_prompt_tokens = _count(usage, "prompt_tokens")
    logprob = _logprob(choice)
    return Completion(request_id, text, finish_reason, num_tokens, num_prompt_tokens, logprob)


def _text(choice: dict[str, Any]) -> str:
    """Return the text of a choice; reasoning in a field of its own precedes the content.

    Raises:
        ValueError: The choice contains no text.
    """
    if "text" in choice:
        reasoning = None
        content = choice["text"]
    else:
        message = choice["message"]
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        content = message.get("content")
    parts = [part for part in (reasoning, content) if isinstance(part, str) and part]
    if not parts and content != "":
        raise ValueError("no text")
    return paired("\n".join(parts))


def _count(usage: Any, name: str) -> int:
    """Return the number of tokens in a field of ``usage``; 0 if the server doesn't report it."""
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and 0 <= count < _MOST_TOKENS else 0


def _logprob(choice: dict[str, Any]) -> float | None:
    """Return the log-probability of the text in nats; None if a token's log-probability is missing.

    Chat completions list the tokens under ``content``, completions under ``token_logprobs``.
    """
    try:
        field = choice["logprobs"]
        is_chat = "content" in field
        logprobs = [t["logprob"] for t in field["content"]] if is_chat else field["token_logprobs"]
        logprob = math.fsum(logprobs)
    except (LookupError, TypeError, ValueError, OverflowError):
        return None
    return logprob if logprobs and math.isfinite(logprob) else None


def paired(text: str) -> str:
    """Return the text with each unpaired surrogate replaced by U+FFFD.

    JSON strings may contain unpaired surrogates, but UTF-8 files and Arrow strings can't.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _decoded(response: httpx.Response) -> str:
    """Return the body decoded as UTF-8, regardless of the encoding that the headers name."""
    return response.content.decode("utf-8", "replace")


def error_message(response: httpx.Response) -> str:
    """Return the field ``error.message`` or ``error`` of a JSON answer; else the whole body as text.

    The text isn't shortened and may contain line breaks, unpaired surrogates, and a key that the server
    repeats.
    """
    try:
        error = response.json()["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, LookupError, TypeError, RecursionError):
        return _decoded(response)


def read_retry_after(header: str | None) -> float | None:
    """Return the seconds from now in a Retry-After header, at least 0; None for an unreadable header.

    The header is a number of seconds or an HTTP date; None (no header) gives None.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        when = email.utils.parsedate_to_datetime(header)
        when = when if when.tzinfo else when.replace(tzinfo=datetime.UTC)
        return max(0.0, (when - datetime.datetime.now(datetime.UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None
