"""Format numbers, durations and texts of models for pages and terminals.

A no-break space separates a number from its unit, and negative numbers have the minus sign U+2212. A
number that isn't finite becomes a dash.
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
    """Replace control characters, direction marks and lone surrogates by visible characters.

    Newlines and tabs stay. The result can be encoded as UTF-8, and can't change the direction of the
    text around it or send escape sequences to a terminal.
    """
    return _CONTROLS.sub(lambda match: _shown(match.group()), text)


def clipped(text: str, num_chars: int = 2000) -> str:
    """Return a text of at most ``num_chars`` characters, or its beginning and the number left out."""
    if len(text) <= num_chars:
        return text
    return f"{text[:num_chars]} … ({len(text) - num_chars:,} more characters)"


def number(value: float, digits: int) -> str:
    """Return a number with ``digits`` decimals and thousands separators; never a negative zero."""
    if not math.isfinite(value):
        return NO_VALUE
    text = f"{value:,.{digits}f}"
    if not any(digit in text for digit in "123456789"):
        text = text.removeprefix("-")
    return text.replace("-", "\u2212")


def percent(share: float) -> str:
    """Return a fraction in [0, 1] as per cent with one decimal."""
    text = number(100 * share, 1)
    return text if text == NO_VALUE else f"{text}{NO_BREAK_SPACE}%"


def signed_points(difference: float) -> str:
    """Return a difference of two fractions in percentage points with its sign, without the unit."""
    text = number(100 * difference, 1)
    return text if text in (NO_VALUE, "0.0") or difference < 0 else f"+{text}"


def points(difference: float) -> str:
    """Return a difference of two fractions in percentage points with its sign and the unit."""
    text = signed_points(difference)
    return text if text == NO_VALUE else f"{text}{NO_BREAK_SPACE}points"


def token_text(text: str) -> str:
    """Return a token's text, at most 60 characters, with visible signs for spaces, newlines and tabs."""
    return clipped(text, 60).translate(
        {ord(" "): "\u2423", ord("\n"): "\u21b5", ord("\t"): "\u21e5"}
    )


def duration(seconds: float) -> str:
    """Return a number of seconds as hours and minutes, minutes and seconds, or seconds."""
    if not math.isfinite(seconds):
        return NO_VALUE
    if seconds < 59.95:  # 59.95 and above would be rounded to 60.0 s
        return f"{seconds:.1f}{NO_BREAK_SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{NO_BREAK_SPACE}min {rest:02d}{NO_BREAK_SPACE}s"
    return f"{minutes // 60}{NO_BREAK_SPACE}h {minutes % 60:02d}{NO_BREAK_SPACE}min"


def _shown(control: str) -> str:
    """Return the visible replacement of a control character, or a newline for CR LF."""
    if control == "\r\n":
        return "\n"
    code = ord(control)
    if code < 0x20:
        return chr(0x2400 + code)  # Unicode's picture of the control character
    if 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    return f"[U+{code:04X}]"
