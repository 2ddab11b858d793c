"""Numbers spelled out in English words, written in digits.

Read are whole numbers below 10^15 ("two hundred and five thousand"), decimals ("three point two
five"), fractions ("two thirds", "four and a half") and their signs ("minus nine").
"""

from __future__ import annotations

import re

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


def spelled_in_digits(text: str) -> str:
    """Return a text that starts with a spelled number with all of its numbers in digits.

    "About twenty-one dollars" becomes "About 21 dollars"; texts that start with anything else, or
    with "one" as a pronoun ("one of them"), are returned unchanged. Linear in the text.
    """
    opening = _OPENING.match(text)
    start = opening.end() if opening else 0
    if not _SPELLED.match(text, start) or _PRONOUN.match(text, start):
        return text
    return _SPELLED.sub(_digits, text)


def _digits(spelled: re.Match[str]) -> str:
    sign = "-" if spelled["sign"] else ""
    if spelled["fraction"]:
        return f"{sign}{_over(spelled['fraction'])}"
    if spelled["mixed"]:
        return f"{sign}{_whole(spelled['mixed'])} {_over(spelled['rest'])}"
    decimals = [str(_whole(part)) for part in _TWO_DIGITS.findall(spelled["decimals"] or "")]
    return f"{sign}{_whole(spelled['whole'])}{'.' if decimals else ''}{''.join(decimals)}"


def _over(fraction: str) -> str:
    *top, bottom = _WORD.findall(fraction.casefold())
    return f"{_whole(' '.join(top))}/{_BOTTOMS[bottom.removesuffix('s')]}"


def _whole(words: str) -> int:
    """Return the value of a whole number in words; "a" counts as one."""
    total = group = 0
    for word in _WORD.findall(words.casefold()):
        if word == "hundred":
            group *= 100
        elif word in _SCALES:
            total, group = total + group * _SCALES[word], 0
        elif word != "and":
            group += _VALUES[word]
    return total + group
