"""Numbers as people and models write them: read exactly, written plainly, compared.

A number is a `fractions.Fraction`; numbers too large to be meant are none at all.
"""

from __future__ import annotations

import re
from fractions import Fraction

_LONGEST_NUMBER = 400
_LARGEST_EXPONENT = 300
_TOLERANCE = Fraction(1, 10**6)
_EXACT_SCALE = 10**5

_SPELLINGS = str.maketrans(
    {**dict.fromkeys("\u2212\u2013\u2012\ufe63\uff0d", "-"), "≈": "=", "≅": "="}
)
_BLANKS = re.compile(r"[^\S\n\r]+")
_CURRENCY = re.compile(r"(?<![0-9])\\?[$£€¥] ?(?=[-+.0-9])")
_LATEX_GAP = re.compile(r"\{,\}|\\[,!]")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s?\{([^{}\\]{1,30})\}\s?\{([^{}\\]{1,30})\}")

_DECIMAL = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![\w.])\.[0-9]+"
NUMBER = re.compile(
    r"(?P<sign>(?<![\w)%.])(?<![0-9)%] )[-+])?"  # not the dash of a subtraction or a range
    r"(?:(?P<whole>[0-9]{1,9}) (?=[0-9]{1,9}/[0-9]))?"
    rf"(?P<top>{_DECIMAL})(?P<exponent>[eE][-+]?[0-9]+)?(?:/(?P<bottom>[0-9]+(?:\.[0-9]+)?))?"
)


def plain_spelling(text: str) -> str:
    """Write numbers in ASCII: one minus, no signs of currency, a/b for a LaTeX fraction."""
    text = _LATEX_GAP.sub(lambda gap: "," if gap.group() == "{,}" else "", text)
    text = _LATEX_FRACTION.sub(r"\1/\2", text).translate(_SPELLINGS)
    return _BLANKS.sub(" ", _CURRENCY.sub("", text))


def parse_number(answer: str) -> Fraction | None:
    """Read one number; None if it is none or too large to be meant."""
    if len(answer) > _LONGEST_NUMBER:
        return None
    match = NUMBER.fullmatch(plain_spelling(answer).strip().rstrip("%. "))
    if match is None:
        return None
    exponent = int(match["exponent"][1:]) if match["exponent"] else 0
    bottom = Fraction(match["bottom"] or 1)
    if abs(exponent) > _LARGEST_EXPONENT or not bottom:
        return None
    top = Fraction(match["top"].replace(",", "")) * Fraction(10) ** exponent
    number = int(match["whole"] or 0) + top / bottom
    return -number if match["sign"] == "-" else number


def write_number(number: Fraction) -> str:
    """Write a number as an exact decimal, or as a fraction where that has no end."""
    scale = number.denominator
    num_decimals = scale.bit_length()  # enough for any product of twos and fives
    if 10**num_decimals % scale:
        return str(number)
    digits = str(abs(number.numerator) * 10**num_decimals // scale).rjust(num_decimals + 1, "0")
    decimal = f"{digits[:-num_decimals]}.{digits[-num_decimals:]}".rstrip("0").rstrip(".")
    return f"-{decimal}" if number < 0 else decimal


def numbers_equal(first: Fraction | None, second: Fraction | None) -> bool:
    """Tell whether two numbers are the same; None equals nothing.

    A relative difference of 1e-6 is allowed only if one has more than five decimals, or no end.
    """
    if first is None or second is None:
        return False
    is_rounded = any(_EXACT_SCALE % number.denominator for number in (first, second))
    tolerance = _TOLERANCE * max(abs(first), abs(second)) if is_rounded else 0
    return abs(first - second) <= tolerance
