"""Format numbers, durations and texts of models for pages and terminals.

A no-break space separates a number from its unit, and negative numbers have the minus sign U+2212. A
number that isn't finite becomes a dash, `NO_VALUE`, without a unit. No text is escaped for HTML.
"""

from __future__ import annotations

import math
import re

NO_VALUE = "\u2013"
NO_BREAK_SPACE = "\u00a0"
_CONTROLS = re.compile(
    "\r\n|[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff0-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001345f\U0001bca0-\U0001bcaf\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Unicode's categories Cc, Cf, Cs, Zl and Zp without newline and tab, and code points kept for them."""


def visible(text: str) -> str:
    """Replace control and format characters and lone surrogates by visible characters.

    Newlines and tabs stay; CR LF becomes a newline. Other characters below U+0020 become Unicode's
    pictures of them, and lone surrogates U+FFFD. U+007F to U+009F, U+2028, U+2029 and format characters,
    such as direction marks, become their code, such as ``[U+202E]``. The result can be encoded as UTF-8,
    and can't change the direction of the text around it or send escape sequences to a terminal.
    """
    return _CONTROLS.sub(lambda match: _shown(match.group()), text)


def clipped(text: str, num_chars: int = 2000) -> str:
    """Return a text's first ``num_chars`` characters and a remark `` … (N more characters)``.

    A text of at most ``num_chars`` characters is returned unchanged.
    """
    if len(text) <= num_chars:
        return text
    return f"{text[:num_chars]} … ({len(text) - num_chars:,} more characters)"


def number(value: float, digits: int) -> str:
    """Return a number, rounded to ``digits`` decimals, with commas between thousands.

    A negative number has the minus sign U+2212; a number that is rounded to 0 has no sign. NaN and
    infinities give `NO_VALUE`.
    """
    if not math.isfinite(value):
        return NO_VALUE
    text = f"{value:,.{digits}f}"
    if not any(digit in text for digit in "123456789"):
        text = text.removeprefix("-")
    return text.replace("-", "\u2212")


def percent(share: float) -> str:
    """Return a fraction in per cent with one decimal and the unit: 0.5 gives ``50.0 %``.

    NaN and infinities give `NO_VALUE`, without the unit.
    """
    text = number(100 * share, 1)
    return text if text == NO_VALUE else f"{text}{NO_BREAK_SPACE}%"


def signed_points(difference: float) -> str:
    """Return a difference of two fractions in percentage points, without the unit: 0.05 gives ``+5.0``.

    A negative difference has the minus sign U+2212; a difference that is rounded to 0 is ``0.0``. NaN
    and infinities give `NO_VALUE`.
    """
    return signed(100 * difference, 1)


def signed(value: float, digits: int) -> str:
    """Return a number as `number` does, with ``+`` before a number that isn't rounded to 0."""
    text = number(value, digits)
    has_digit = any(digit in text for digit in "123456789")
    return f"+{text}" if has_digit and value > 0 else text


def p_text(p_value: float) -> str:
    """Return a p-value with three decimals; ``< 0.001`` below 0.001; `NO_VALUE` for NaN."""
    return "<\u202f0.001" if p_value < 0.001 else number(p_value, 3)


def points(difference: float) -> str:
    """Return the text of `signed_points` with its unit: 0.05 gives ``+5.0 points``.

    NaN and infinities give `NO_VALUE`, without the unit.
    """
    text = signed_points(difference)
    return text if text == NO_VALUE else f"{text}{NO_BREAK_SPACE}points"


def token_text(text: str) -> str:
    """Return a token's text, clipped to 60 characters, with signs for spaces, newlines and tabs.

    The signs are U+2423, U+21B5 and U+21E5, also in the remark of `clipped`. Other control characters
    stay as they are.
    """
    return clipped(text, 60).translate(
        {ord(" "): "\u2423", ord("\n"): "\u21b5", ord("\t"): "\u21e5"}
    )


def duration(seconds: float) -> str:
    """Return a non-negative number of seconds as ``2 h 05 min``, ``3 min 07 s`` or ``12.3 s``.

    With hours, the remaining seconds are cut off. NaN and infinities give `NO_VALUE`.
    """
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
