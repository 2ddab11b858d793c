"""Convert gold answers of data sets and user files to the normal form of `Question.answer`.

The normal form of a number is ``-?digits[.digits]`` without leading or trailing zeros, or a reduced
fraction if the number has no finite decimal; of a choice, a capital letter; of a boolean, ``yes`` or
``no``. Any other answer is text and stays unchanged. In all functions ``row``
maps column names to values.
"""

from __future__ import annotations

import decimal
import json
import math
import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

from kpod_ray.answers.candidates import BOOLEANS
from kpod_ray.answers.numbers import plain_number, spelled_in_digits
from kpod_ray.records import AnswerKind
from kpod_ray.storage.user_files import FieldError, text_field

_NUMBER = re.compile(
    r"(?:\$\s*(?P<after>[-+]?)|(?P<sign>[-+]?)\$?\s*)"
    r"(?P<whole>[0-9]{1,3}(?:,[0-9]{2,3})*,[0-9]{3}|[0-9]*)(?:\.(?P<part>[0-9]*))?"
)
"""A number with optional sign and dollar sign. Groups before the last may have two digits, as in the
Indian notation ``1,00,000``."""

_LONGEST_NUMBER = 60
"""Most characters of a number with a unit or in words."""
_SIGNS = "$\u20ac\u00a3\u00a5\u20b9"
_MATH = re.compile(r"\$(?P<dollars>[^$]+)\$|\\\((?P<round>.+)\\\)|\\\[(?P<square>.+)\\\]")
"""A text in LaTeX's math mode."""
_SYMBOL = (
    r"[\u20ac\u00a3\u00a5\u20b9\u00b0][CF]?|\^\{?\\circ\}?|k[gmWVJ]|[cm]?[mlLgs][\u00b2\u00b32-3]?|"
    r"[kMGT]B|[kM]?Hz|kWh|k?m/[hs]|EUR|USD"
)
_NO_UNIT = (
    r"(?!(?:am|pm|a\.m|p\.m|o['\u2019]clock|and|or|to|by|of|in|out|at|plus|minus|times|x|over|th|st|nd|rd|"
    r"hundred|thousand|million|billion|trillion|dozen|half|vs|is|are|if|when|with|who|that)\b)"
)
_WORDS = rf"(?:{_NO_UNIT}[a-z]{{2,}}(?:[ /-]{_NO_UNIT}[a-z]{{2,}}|\sper\s[a-z]+){{0,2}})"
_MEASURED = re.compile(
    r"(?P<number>[-+$\u20ac\u00a3\u00a5\u20b9\u2212]{0,2}[0-9.,/ \u00a0\u00bc-\u00be\u2150-\u215e]*"
    r"[0-9\u00bc-\u00be\u2150-\u215e])"
    rf"(?:\s?(?:{_SYMBOL}|\\(?:text|mathrm)\{{\s?(?:{_WORDS}|{_SYMBOL})\}})|\s{_WORDS}|\s?\({_WORDS}\))\.?"
)
"""A number with its unit: "5 apples", "9 (apples)", "3.5 kg", "5 km/h"; no time ("12 a.m.") or name."""


def normal_number(text: str) -> str | None:
    """Return a number in normal form, such as ``3000`` for ``$3,000.0``; None for any other text.

    A number is a decimal (``.5`` and ``5.``, too) with an optional sign and an optional ``$`` before or
    after the sign; white space around the number and after ``$`` is left out. ``-0`` gives ``0``. Commas
    may divide the whole part into groups of digits: the last has three digits, the others two or three
    (the first one to three), so ``1,2`` isn't a number. Fractions, percent signs, exponents, units and
    number words give None.
    """
    match = _NUMBER.fullmatch(text.strip())
    if match is None or not (match["whole"] or match["part"]):
        return None
    whole = match["whole"].replace(",", "").lstrip("0") or "0"
    part = (match["part"] or "").rstrip("0")
    number = f"{whole}.{part}" if part else whole
    is_negative = "-" in (match["sign"], match["after"])
    return f"-{number}" if is_negative and number != "0" else number


def read_gold(row: Mapping[str, Any], name: str) -> tuple[str, AnswerKind]:
    """Return the gold answer of a question without choices, in normal form, and the answer's kind.

    The column ``name`` holds text (see `classify`), a JSON number, or a JSON boolean, which gives
    ``yes`` or ``no``.

    Raises:
        FieldError: The answer is missing, null, only white space, a number that isn't finite, of another
            type, or a text with half a surrogate pair.
    """
    value = row.get(name)
    if isinstance(value, bool):
        return ("yes" if value else "no"), "boolean"
    if isinstance(value, int | float | decimal.Decimal):
        return _plain_number(value, name), "number"
    return classify(text_field(row, name))


def classify(text: str) -> tuple[str, AnswerKind]:
    r"""Return the normal form and the kind of an answer given as text: number, boolean or text.

    A number may be written in any way that `plain_number` reads (``3/4``, ``50%``, ``1e3``,
    ``\frac{3}{4}``, with a Unicode minus or a currency sign, in math mode), in words (``twenty-one``),
    or with a unit (``5 apples``, ``3.5 kg``), which is dropped. Yes and true, in any case, are the
    boolean ``yes``, no and false the boolean ``no``. Other text stays unchanged, without the white space
    at its ends: times (``6:10``), ranges, numbers with a scale word (``5 million``) and names with
    numbers (``7 Eleven``), for example.
    """
    text = text.strip()
    number = normal_number(text) or _spelled_number(text)
    if number is not None:
        return number, "number"
    boolean = BOOLEANS.get(text.lower())
    return (boolean, "boolean") if boolean else (text, "text")


def _spelled_number(text: str) -> str | None:
    """Return a number in another spelling than that of `normal_number`, in normal form."""
    if math_mode := _MATH.fullmatch(text):
        text = math_mode[math_mode.lastgroup or 0].strip()
    if sum(map(text.count, _SIGNS)) > 1:
        return None
    number = plain_number(text)
    if number is not None or len(text) > _LONGEST_NUMBER:
        return number
    measured = _MEASURED.fullmatch(text)
    return plain_number(measured["number"] if measured else spelled_in_digits(text))


def read_choices(row: Mapping[str, Any], name: str) -> tuple[list[str], list[str]]:
    """Return the texts and the labels of a question's choices; two empty lists if there are none.

    The column ``name`` holds a list of texts, which get the labels ``A``, ``B``, ..., or a mapping
    ``{"text": [...], "label": [...]}`` as in data sets on the hub; without ``label``, the labels are
    those of a list. In a CSV file, either is JSON text. Texts and labels lose the white space at their
    ends; JSON numbers become text in normal form. A missing column, null or an empty list means no
    choices.

    Raises:
        FieldError: The choices, a choice or a label have another type, a text or label is only white
            space or holds half a surrogate pair, a number isn't finite, the numbers of texts and labels
            differ, two labels are equal, or there are fewer than 2 or more than 26 choices.
    """
    value: Any = _of_json(row.get(name))
    if value is None or value == []:
        return [], []
    labels: Any = None
    if isinstance(value, dict):
        value, labels = value.get("text"), value.get("label")
    if not isinstance(value, list):
        raise FieldError(f"field {name!r} must be a list of texts")
    texts = [_choice(item, name) for item in value]
    letters = list(string.ascii_uppercase[: len(texts)])
    if not 2 <= len(texts) <= 26:
        raise FieldError(f"field {name!r} has {len(texts)} choices; 2 to 26 can be used")
    if labels is not None and (not isinstance(labels, list) or len(labels) != len(texts)):
        raise FieldError(f"field {name!r} must have as many labels as texts")
    if labels is None:
        return texts, letters
    labels = [_choice(label, name) for label in labels]
    if len(set(labels)) < len(labels):
        raise FieldError(f"field {name!r} has two equal labels")
    return texts, labels


def _of_json(value: Any) -> Any:
    """Return what a text such as ``["cat", "dog"]``, as in a CSV file, holds; else the value itself."""
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def read_choice(
    row: Mapping[str, Any], name: str, texts: Sequence[str], labels: Sequence[str]
) -> str:
    """Return the letter of the gold choice: ``A`` for the first choice, ``B`` for the second, ...

    The column ``name`` must hold the label or the exact text of a choice, in the same case, but with any
    white space at the ends; labels take precedence, and the first of equal choices counts. Numbers are
    compared in normal form, so that ``1.0`` is the label ``1``. A JSON boolean is ``yes`` or ``no``; no
    number is taken as an index. ``texts`` and ``labels`` come from `read_choices` and aren't empty.

    Raises:
        FieldError: The gold answer is missing, only white space, of another type, a number that isn't
            finite, a text with half a surrogate pair, or neither a label nor the text of a choice.
    """
    is_text = isinstance(row.get(name), str)
    given = text_field(row, name).strip() if is_text else read_gold(row, name)[0]
    for names in (labels, texts):
        plain = [_plain(known) for known in names]
        if _plain(given) in plain:
            return string.ascii_uppercase[plain.index(_plain(given))]
    allowed = f"{labels[0]} to {labels[-1]} or the text of a choice"
    raise FieldError(f"field {name!r} is {given!r}; it must be {allowed}")


def _plain(text: str) -> str:
    """Return a number in normal form, and any other text as it is."""
    return normal_number(text) or text


def _choice(item: object, name: str) -> str:
    """Return the text of one choice or label, a number in normal form."""
    if isinstance(item, int | float) and not isinstance(item, bool):
        return _plain_number(item, name)
    return text_field({name: item}, name).strip()


def _plain_number(value: int | float | decimal.Decimal, name: str) -> str:
    """Return the normal form of a finite number; ``name`` is the column for error messages."""
    # an integer is finite, and may be too large for a float
    if not isinstance(value, int) and not math.isfinite(value):
        raise FieldError(f"field {name!r} is {value}, which is no finite number")
    # format "f" of a Decimal writes no exponent; str(1e22) would be "1e+22"
    return str(normal_number(format(decimal.Decimal(str(value)), "f")))
