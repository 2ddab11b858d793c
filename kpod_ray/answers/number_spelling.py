"""Numbers of a text rewritten in one ASCII form: LaTeX, powers, signs, currencies, Unicode."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_LARGEST_EXPONENT = 300
_LONGEST_POWER = 400
"""Most digits of a power that is calculated."""
_SPELLINGS = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2013\u2012\ufe63\uff0d", "-"),
        **dict.fromkeys("\u2248\u2245", "="),
        "\u2044": "/",
    }
)
_SUPERSCRIPTS = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b"
_RAISED = re.compile(f"(?<=[0-9])[{_SUPERSCRIPTS}]{{1,4}}")
_VULGAR = re.compile("(?P<after>(?<=[0-9]) ?)?(?P<fraction>[\u00bc-\u00be\u2150-\u215e])")
_BLANKS = re.compile(r"[^\S\n\r ][^\S\n\r]*| [^\S\n\r]+")  # all but a single blank
_RARE_BLANK = re.compile("[\x0b\x0c\x1c-\x1f]")
_THIN_COMMA = re.compile("(?<=[0-9])[\u00a0\u2009\u202f](?=[0-9]{3}(?![0-9]))")
_CURRENCY = re.compile(r"(?=[\\$£€¥\u20b9])(?<![0-9])\\?[$£€¥\u20b9] ?(?=[-+.0-9])")
_CENTS = re.compile(
    r"(?<=[0-9]) (?:dollars?|euros?),? (?:and )?([0-9]{1,2}) cents?\b", re.IGNORECASE
)
_EQUALS = re.compile(r"(?=e)\b(?:equals|equal to)\b", re.IGNORECASE)
_NEGATIVE = re.compile(
    r"(?=[nm])(?:\bnegative|(?:(?<=\bis )|(?<=\bare )|(?<=\bbe )|(?<=[:=(*] )|(?<=[:=(*])|\A)minus)"
    r"\s(?=[.0-9])",
    re.IGNORECASE,
)
"""Matches the word of a sign; in "5 minus 3" the word is no sign."""
_LATEX_COMMA = re.compile(r"\{,\}|\\!")
_LATEX_GAP = re.compile(r"(?P<inner>(?<=[0-9])\\[,;: ](?=[0-9]{3}(?![0-9])))|\\[,;: ]")
_LATEX_FRACTION = re.compile(
    r"(?P<whole>(?<=[0-9]) ?)?(?P<sign>(?<![0-9)}] )(?<![0-9)}])-)?\\[dtc]?frac"
    r"(?:\s?\{(?P<top>[^{}\\]{1,30})\}|\s?(?P<digit>[0-9]))"
    r"(?:\s?\{(?P<bottom>[^{}\\]{1,30})\}|\s?(?P<last>[0-9]))"
)
_LATEX_ABOUT = re.compile(r"\\(?:approx|simeq|cong)\b")
_MIXED = re.compile(r"(?<=[0-9]) and (?=[0-9]{1,3}/[1-9])")
_POWER_OF_TEN = re.compile(
    r"(?=[ x\u00d7*\u00b7\\1])"  # possible first characters: most positions fail here, which saves time
    r"(?:(?<=[0-9]) ?(?P<times>x|\u00d7|\*|\u00b7|\\times|\\cdot) ?|(?<![\w.^*/]))"
    r"10 ?(?:\^|\*\*) ?[{(]?(?P<exponent>[-+]?[0-9]{1,3})(?!\.?[0-9])[})]?(?!\^)"
)
_POWER = re.compile(
    r"(?<![\w.^/])(?<!\*\*)(?P<base>[0-9]{1,30}(?:\.[0-9]{1,30})?)"
    r" ?(?:\^|\*\*) ?[{(]?(?P<exponent>-?[0-9]{1,3})(?!\.?[0-9])[})]?(?! ?(?:\^|\*\*))"
)


def plain_spelling(text: str) -> str:
    r"""Return a text with its numbers rewritten in one ASCII form.

    Minus signs and en dashes become "-", and so does "negative" before a number; currency signs before
    numbers disappear; fractions become a/b, powers of ten an exponent, and other powers their values:
    "1{,}000" becomes "1,000", "2½" and "2\frac12" "2 1/2", "3 x 10^4" "3e4", "2^{10}" "1024", "$5" "5",
    and "5 dollars and 20 cents" "5.20". "equals", "equal to" and signs of approximate equality become
    "=". White space other than single blanks and line ends becomes one blank. Number words stay
    (`numbers.spelled_in_digits`).
    """
    is_ascii = text.isascii()
    if not is_ascii:
        text = _VULGAR.sub(_ascii_fraction, _RAISED.sub(_ascii_exponent, text))
    if "\\" in text or "{" in text:
        text = _plain_latex(text)
    if not is_ascii:
        text = _THIN_COMMA.sub("", text.translate(_SPELLINGS))
    if not is_ascii or "  " in text or "\t" in text or _RARE_BLANK.search(text):
        text = _BLANKS.sub(" ", text)
    if not is_ascii or "$" in text:
        text = _CURRENCY.sub("", text)
    if "^" in text or "**" in text:
        text = _POWER.sub(_power, _POWER_OF_TEN.sub(_scientific, text))
    return _plain_words(text)


def _plain_words(text: str) -> str:
    """Return a text with the words of signs, mixed numbers and cents in digits and ASCII."""
    if "/" in text and " and " in text:
        text = _MIXED.sub(" ", text)
    lowered = text.lower()
    if "equal" in lowered:
        text = _EQUALS.sub("=", text)
    if "negative" in lowered or "minus" in lowered:
        text = _NEGATIVE.sub("-", text)
    return _CENTS.sub(_hundredths, text) if "cent" in lowered else text


def _plain_latex(text: str) -> str:
    """Return a text without LaTeX's spaces and escaped percent signs, with fractions as a/b."""
    text = _LATEX_COMMA.sub(lambda gap: "," if gap.group() == "{,}" else "", text)
    text = _LATEX_GAP.sub(lambda gap: " " if gap["inner"] is None else "", text)
    text = _LATEX_ABOUT.sub("=", text)
    return _LATEX_FRACTION.sub(_ascii_latex_fraction, text.replace("\\%", "%"))


def _ascii_latex_fraction(fraction: re.Match[str]) -> str:
    top = (fraction["top"] or fraction["digit"]).strip()
    bottom = (fraction["bottom"] or fraction["last"]).strip()
    is_grouped = "," in f"{top}{bottom}" and not re.search(r",(?![0-9]{3})", f"{top}/{bottom}")
    if is_grouped:
        top, bottom = top.replace(",", ""), bottom.replace(",", "")
    signs = [fraction["sign"] or "", *("-" for part in (top, bottom) if part.startswith("-"))]
    sign = "-" if "".join(signs).count("-") % 2 else ""
    gap = "" if fraction["whole"] is None else " "
    return f"{gap}{sign}{top.removeprefix('-')}/{bottom.removeprefix('-')}"


def _ascii_exponent(raised: re.Match[str]) -> str:
    return "^" + unicodedata.normalize("NFKC", raised.group()).replace("\u2212", "-")


def _ascii_fraction(vulgar: re.Match[str]) -> str:
    value = Fraction(unicodedata.numeric(vulgar["fraction"])).limit_denominator(10)
    return f"{'' if vulgar['after'] is None else ' '}{value}"


def _scientific(power: re.Match[str]) -> str:
    return f"{'' if power['times'] else 1}e{power['exponent']}"


def _power(power: re.Match[str]) -> str:
    """Return the value of a power, or the power as it is written if its value has too many digits."""
    base, exponent = Fraction(power["base"]), int(power["exponent"])
    num_digits = len(power["base"]) * abs(exponent)
    if (
        num_digits > _LONGEST_POWER
        or abs(exponent) > _LARGEST_EXPONENT
        or (not base and exponent < 0)
    ):
        return power.group()
    return str(base**exponent)


def _hundredths(cents: re.Match[str]) -> str:
    return f".{cents[1]:0>2}"
