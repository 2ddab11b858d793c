"""The length of error messages."""

from __future__ import annotations

import re

_LONG_WORD = re.compile(r"\S{101,}")
_MAX_CHARACTERS = 300


def shortened(message: str) -> str:
    """Return a message; of a very long one, words of over 100 characters are cut in the middle."""
    if len(message) <= _MAX_CHARACTERS:
        return message
    return _LONG_WORD.sub(lambda word: f"{word.group()[:50]}...{word.group()[-40:]}", message)
