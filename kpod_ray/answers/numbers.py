"""Numbers in texts: parsing of digits and number words, plain form, comparison.

Numbers are exact: a number is a `fractions.Fraction`. Numbers of over 400 characters or with an exponent
beyond ±300 are not parsed, because their powers of ten would take too much time and memory.

`spelled_in_digits` and `number_spelling.plain_spelling` rewrite the numbers in a text in the ASCII form
that `NUMBER` matches. Both take time linear in the length of the text.
"""

from __future__ import annotations

import re
from fractions import Fraction

from kpod_ray.answers.number_spelling import plain_spelling

_LONGEST_NUMBER = 400
"""Most characters of a number."""
_LARGEST_EXPONENT = 300
_TOLERANCE = Fraction(1, 10**6)
"""Relative difference that is allowed between rounded numbers."""
_EXACT_SCALE = 10**5
"""Numbers whose denominators divide this scale have at most five decimals and are compared exactly."""
_GROUPED = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3})(?![0-9])"
"""Matches an integer with commas; the second form is the Indian notation ``1,00,000``."""
_DECIMAL = rf"(?:{_GROUPED}|[0-9]+)(?:\.[0-9]+)?|(?<![\w.])\.[0-9]+"
NUMBER = re.compile(
    r"(?P<sign>(?<![\w)%.])(?<![0-9)%] )[-+])?"  # excludes the dash of a subtraction or a range
    r"(?:(?P<whole>[0-9]{1,9}) (?=[0-9]{1,9}/[0-9]))?"
    rf"(?P<top>{_DECIMAL})(?P<exponent>[eE][-+]?[0-9]+)?(?:/(?P<bottom>[0-9]+(?:\.[0-9]+)?))?"
)
"""Matches a number of `plain_spelling`: mixed number, fraction or decimal, with sign and exponent."""

# Number words, from small to large: a pattern is named after the numbers that the pattern matches.
_WORD = re.compile(r"[a-z]+")
_SMALL = _WORD.findall(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS = _WORD.findall("twenty thirty forty fifty sixty seventy eighty ninety")
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = _WORD.findall("third quarter fourth fifth sixth seventh eighth ninth tenth")
_BOTTOMS = dict(zip(_PARTS, (3, 4, 4, 5, 6, 7, 8, 9, 10), strict=True)) | {"half": 2, "halve": 2}
_VALUES = {word: value for value, word in enumerate(_SMALL)} | {"a": 1}
_VALUES |= {word: 10 * tens for tens, word in enumerate(_TENS, 2)}
_GAP = r"[-\s]\s?"
_AND = rf",?{_GAP}(?:and{_GAP})?"
_BELOW_100 = (
    rf"(?:(?:{'|'.join(_TENS)})(?:{_GAP}(?:{'|'.join(_SMALL[1:10])})\b)?"
    rf"|(?:{'|'.join(reversed(_SMALL))}))\b"
)
_BELOW_1000 = rf"(?:(?:{_BELOW_100}|a){_GAP}hundred\b(?:{_AND}{_BELOW_100})?|{_BELOW_100})"
_SCALED = rf"(?:{_BELOW_1000}|a){_GAP}(?:{'|'.join(_SCALES)})\b"
_WHOLE = rf"(?:{_SCALED}(?:{_AND}{_SCALED}){{0,3}}(?:{_AND}{_BELOW_1000})?|{_BELOW_1000})"
_PART = rf"{_GAP}(?:half|{'|'.join(_PARTS)})\b"
_FRACTION = rf"(?:one{_PART}|{_BELOW_100}{_GAP}(?:halves|(?:{'|'.join(_PARTS)})s)\b)"
_SPELLED = re.compile(
    rf"\b(?P<sign>(?:minus|negative){_GAP})?"
    rf"(?:(?P<mixed>{_WHOLE}){_GAP}and{_GAP}(?P<rest>a{_PART}|{_FRACTION})|(?P<fraction>{_FRACTION})"
    rf"|(?P<whole>{_WHOLE})(?:{_GAP}point(?P<decimals>(?:{_GAP}{_BELOW_100})+))?)",
    re.IGNORECASE | re.ASCII,
)
_OPENING = re.compile(
    r"[\s\"'*(\u201c\u2018]*(?:(?:about|approximately|exactly|only|just)\s)?", re.IGNORECASE
)
_PRONOUN = re.compile(
    r"one\s(?:of|that|which|who|whose|where|with|in|can|could|must|should)\b", re.IGNORECASE
)
_TWO_DIGITS = re.compile(_BELOW_100, re.IGNORECASE | re.ASCII)


def parse_number(answer: str) -> Fraction | None:
    """Return the value of a text that is one number; None for any other text.

    The text is a decimal, a fraction or a mixed number, in any spelling that `plain_spelling` rewrites.
    A currency sign before the number, and percent signs, full stops and blanks after it are dropped:
    "$5", "5%" and "5." are all 5. Number words ("five") and numbers with a unit give None, as do a
    denominator 0, a text of over 400 characters and an exponent beyond ±300.
    """
    if len(answer) > _LONGEST_NUMBER:
        return None
    match = NUMBER.fullmatch(plain_spelling(answer).strip().rstrip("%. "))
    if match is None:
        return None
    exponent = int(match["exponent"][1:]) if match["exponent"] else 0
    bottom = Fraction(match["bottom"] or 1)
    if abs(exponent) > _LARGEST_EXPONENT or not bottom:
        return None
    number = Fraction(match["top"].replace(",", ""))
    if match["exponent"] or match["bottom"] or match["whole"]:
        number = int(match["whole"] or 0) + number * Fraction(10) ** exponent / bottom
    return -number if match["sign"] == "-" else number


def plain_number(answer: str) -> str | None:
    """Return `write_number` of a text that is one number (`parse_number`); None for any other text.

    "$1,250.50" gives "1250.5", "4/6" gives "2/3".
    """
    if answer.isascii() and answer.isdecimal() and len(answer) <= _LONGEST_NUMBER:
        return answer.lstrip("0") or "0"  # the common case, without parsing
    number = parse_number(answer)
    return None if number is None else write_number(number)


def write_number(number: Fraction) -> str:
    """Return a number as an exact decimal ("1250.5", "5"), else as a reduced fraction ("2/3")."""
    scale = number.denominator
    # 2^a 5^b has a finite decimal of max(a, b) digits, and max(a, b) <= a + b <= bit length.
    num_decimals = scale.bit_length()
    if 10**num_decimals % scale:
        return str(number)
    digits = str(abs(number.numerator) * 10**num_decimals // scale).rjust(num_decimals + 1, "0")
    decimal = f"{digits[:-num_decimals]}.{digits[-num_decimals:]}".rstrip("0").rstrip(".")
    return f"-{decimal}" if number < 0 else decimal


def numbers_equal(first: Fraction | None, second: Fraction | None) -> bool:
    """Return whether two numbers are equal; None equals nothing.

    A difference of 1e-6 times the larger absolute value is allowed only if one of the numbers has more
    than five decimals or no finite decimal.
    """
    if first is None or second is None:
        return False
    is_rounded = any(_EXACT_SCALE % number.denominator for number in (first, second))
    tolerance = _TOLERANCE * max(abs(first), abs(second)) if is_rounded else 0
    return abs(first - second) <= tolerance


def spelled_in_digits(text: str) -> str:
    """Return a text that begins with a number in words, with all of its number words replaced by digits.

    "About twenty-one dollars for one" becomes "About 21 dollars for 1". White space, opening quotes and
    brackets, "*", and then one of about, approximately, exactly, only and just, may stand before the
    first number. A text that begins with anything else, or with the pronoun "one" ("one of them"), is
    returned unchanged.
    """
    opening = _OPENING.match(text)
    start = opening.end() if opening else 0
    if not _SPELLED.match(text, start) or _PRONOUN.match(text, start):
        return text
    return _SPELLED.sub(_digits, text)


def _digits(spelled: re.Match[str]) -> str:
    """Return a match of `_SPELLED` in digits: "2 1/2", "3/4", "21" or "2.5"."""
    sign = "-" if spelled["sign"] else ""
    if spelled["fraction"]:
        return f"{sign}{_over(spelled['fraction'])}"
    if spelled["mixed"]:
        return f"{sign}{_whole(spelled['mixed'])} {_over(spelled['rest'])}"
    decimals = [str(_whole(part)) for part in _TWO_DIGITS.findall(spelled["decimals"] or "")]
    return f"{sign}{_whole(spelled['whole'])}{'.' if decimals else ''}{''.join(decimals)}"


def _over(fraction: str) -> str:
    """Return a fraction in words, such as "three quarters", as "3/4"."""
    *top, bottom = _WORD.findall(fraction.casefold())
    return f"{_whole(' '.join(top))}/{_BOTTOMS[bottom.removesuffix('s')]}"


def _whole(words: str) -> int:
    """Return the value of an integer in words; "a" counts as one."""
    total = group = 0  # `group`: the value since the last scale word
    for word in _WORD.findall(words.casefold()):
        if word == "hundred":
            group *= 100
        elif word in _SCALES:
            total += group * _SCALES[word]
            group = 0
        elif word != "and":
            group += _VALUES[word]
    return total + group
