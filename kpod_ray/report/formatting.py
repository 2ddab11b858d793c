"""Numbers, durations and texts of models as the pages show them.

A unit follows its number after a no-break space; a minus is a true minus sign.
"""

from __future__ import annotations

import math
import re

NO_VALUE = "\u2013"
NO_BREAK_SPACE = "\u00a0"
_CONTROLS = re.compile(
    "\r\n|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    """Return the text with every control character, direction mark and lone surrogate shown.

    Newlines and tabs stay. The result can be written as UTF-8 and can't reorder what is around it.
    """
    return _CONTROLS.sub(lambda match: _shown(match.group()), text)


def clipped(text: str, num_chars: int = 2000) -> str:
    """Return the text, or its beginning and how many characters are left out."""
    if len(text) <= num_chars:
        return text
    return f"{text[:num_chars]} … ({len(text) - num_chars:,} more characters)"


def number(value: float, digits: int) -> str:
    """Return a number with so many decimals, or a dash when it is not finite."""
    if not math.isfinite(value):
        return NO_VALUE
    text = f"{value:,.{digits}f}"
    if not any(digit in text for digit in "123456789"):
        text = text.removeprefix("-")
    return text.replace("-", "\u2212")


def percent(share: float) -> str:
    """Return a share in [0, 1] as per cent with one decimal."""
    text = number(100 * share, 1)
    return text if text == NO_VALUE else f"{text}{NO_BREAK_SPACE}%"


def signed_points(difference: float) -> str:
    """Return a difference of two shares in percentage points with its sign, without the unit."""
    text = number(100 * difference, 1)
    return text if text in (NO_VALUE, "0.0") or difference < 0 else f"+{text}"


def points(difference: float) -> str:
    """Return a difference of two shares in percentage points with its sign."""
    text = signed_points(difference)
    return text if text == NO_VALUE else f"{text}{NO_BREAK_SPACE}points"


def token_text(text: str) -> str:
    """Return a token's text with its spaces, newlines and tabs shown as signs."""
    return clipped(text, 60).translate(
        {ord(" "): "\u2423", ord("\n"): "\u21b5", ord("\t"): "\u21e5"}
    )


def duration(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds, two units at most."""
    if not math.isfinite(seconds):
        return NO_VALUE
    if seconds < 59.95:
        return f"{seconds:.1f}{NO_BREAK_SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{NO_BREAK_SPACE}min {rest:02d}{NO_BREAK_SPACE}s"
    return f"{minutes // 60}{NO_BREAK_SPACE}h {minutes % 60:02d}{NO_BREAK_SPACE}min"


def _shown(control: str) -> str:
    if control == "\r\n":
        return "\n"
    code = ord(control)
    if code < 0x20:
        return chr(0x2400 + code)  # Unicode's picture of the control character
    if 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    return f"[U+{code:04X}]"
