"""Read what a server with the OpenAI protocol answers, and expect anything."""

from __future__ import annotations

import datetime
import email.utils
import math
from typing import Any

import httpx

from kpod_ray.records import Completion

_BROKEN_OFF = {"error", "abort"}
"""Finish reasons of a text that a server didn't end properly."""
_MOST_TOKENS = 2**31


class UnreadableAnswer(ValueError):
    """An answer that says it succeeded and holds no text."""


def read_completion(request_id: str, response: httpx.Response) -> Completion:
    """Return what a successful answer says.

    Raises:
        UnreadableAnswer: It isn't what the protocol promises: a fault of the server.
    """
    try:
        answer = response.json()
        choice, usage = answer["choices"][0], answer.get("usage")
        text, finish_reason = _text(choice), str(choice.get("finish_reason") or "")
        if finish_reason in _BROKEN_OFF:
            raise ValueError(f"finish reason {finish_reason}")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        told = _decoded(response)
        raise UnreadableAnswer(f"an answer without a text ({error!r}): {told}") from error
    num_tokens, num_prompt_tokens = (
        _count(usage, name) for name in ("completion_tokens", "prompt_tokens")
    )
    logprob = _logprob(choice)
    return Completion(request_id, text, finish_reason, num_tokens, num_prompt_tokens, logprob)


def _text(choice: dict[str, Any]) -> str:
    """Return what a choice says; the reasoning of a model that keeps it apart comes first."""
    if "text" in choice:
        reasoning, content = None, choice["text"]
    else:
        message = choice["message"]
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        content = message.get("content")
    parts = [part for part in (reasoning, content) if isinstance(part, str) and part]
    if not parts and content != "":
        raise ValueError("no text")
    return paired("\n".join(parts))


def _count(usage: Any, name: str) -> int:
    """Return a number of tokens that the server counted; 0 when it doesn't say."""
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and 0 <= count < _MOST_TOKENS else 0


def _logprob(choice: dict[str, Any]) -> float | None:
    """Return the log-probability of the text, if the server tells that of every token."""
    try:
        told = choice["logprobs"]
        is_chat = "content" in told
        logprobs = [t["logprob"] for t in told["content"]] if is_chat else told["token_logprobs"]
        logprob = math.fsum(logprobs)
    except (LookupError, TypeError, ValueError, OverflowError):
        return None
    return logprob if logprobs and math.isfinite(logprob) else None


def paired(text: str) -> str:
    """Return the text with U+FFFD for half characters: JSON may hold them, a file can't."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _decoded(response: httpx.Response) -> str:
    """Return the body as text, whatever encoding the server claims."""
    return response.content.decode("utf-8", "replace")


def error_message(response: httpx.Response) -> str:
    """Return what the server says about an error."""
    try:
        error = response.json()["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, LookupError, TypeError, RecursionError):
        return _decoded(response)


def read_retry_after(header: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for: a number, or a date."""
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
