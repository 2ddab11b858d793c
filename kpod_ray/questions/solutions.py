r"""Answer columns that hold a whole solution: split into reference rationale and gold answer.

Two forms are recognised without a setting: GSM8K's last line ``#### 42``, and ``\boxed{42}`` as in
solutions of MATH. Any other long text in an answer column is refused: no student would be scored right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kpod_ray.answers.markers import LONGEST_ANSWER, breaks
from kpod_ray.storage.user_files import FieldError

_CALCULATOR_MARK = re.compile(r"<<[^<>\n;]*=[^<>\n;]*>>")
"""Annotation of GSM8K's rationales, such as ``<<48/2=24>>``."""
_SHORT = 40
"""Characters of a text that may be a gold answer whatever its full stops, as in ``the U.S. Army``."""
_LAST_LINE = re.compile(r"(?:\A|\n)[ \t]*####[ \t]*(?P<answer>[^\n#]+)\Z")
_BOXED = re.compile(r"\\f?boxed\s{0,2}\{")
_BRACE = re.compile(r"\\[{}]|[{}]")
_LABEL = re.compile(r"\(?[A-Za-z0-9]{1,2}[.):]\s")
"""Label of a choice, such as ``B.``, whose full stop ends no sentence."""


def split_answer(text: str, separator: str, name: str) -> tuple[str, str]:
    """Split a text such as ``reasoning #### answer`` at its last separator, and return both parts.

    The parts have no white space at the ends. The reasoning, which may be empty, loses GSM8K's
    calculator annotations such as ``<<48/2=24>>``; the answer isn't in normal form. ``separator`` isn't
    empty. ``name``, the column of the text, is for error messages.

    Raises:
        FieldError: The text holds no separator, or no answer follows the separator.
    """
    rationale, found, answer = text.rpartition(separator)
    if not found:
        raise FieldError(f"field {name!r} holds no answer separator {separator!r}")
    if not answer.strip():
        raise FieldError(f"field {name!r} has no answer after {separator!r}")
    return without_calculator_marks(rationale), answer.strip()


def without_calculator_marks(rationale: str) -> str:
    """Return a rationale without GSM8K's calculator annotations and without white space at its ends."""
    return _CALCULATOR_MARK.sub("", rationale).strip()


def split_solution(row: Mapping[str, Any], name: str) -> tuple[str, str] | None:
    r"""Return the rationale and the answer of a solution in column ``name``; None for a plain answer.

    After ``####``, the answer is the last line, perhaps in a ``\boxed{}``, and the rationale is what is
    before it, without calculator annotations. The answer in the last ``\boxed{}`` may hold braces; its
    rationale is the whole text, or empty if nothing else is there. Both parts have no white space at
    their ends.

    Raises:
        FieldError: The text holds ``####`` or ``\boxed``, but no answer in this form.
    """
    value = row.get(name)
    if not isinstance(value, str):
        return None
    text = value.strip()
    if line := _LAST_LINE.search(text):
        boxed = split_solution({name: line["answer"]}, name)
        answer = boxed[1] if boxed else line["answer"].strip()
        return without_calculator_marks(text[: line.start()]), answer
    if "####" in text:
        raise FieldError(f"field {name!r} holds '####', but no last line '#### ANSWER'")
    boxes = list(_BOXED.finditer(text))
    if not boxes:
        return None
    end = _closing_brace(text, boxes[-1].end())
    answer = text[boxes[-1].end() : end].strip()
    if end == len(text) or not answer:
        raise FieldError(f"field {name!r} holds \\boxed{{}} without an answer inside")
    rest = (text[: boxes[-1].start()] + text[end + 1 :]).strip(" \n$.")
    return (text if rest else ""), answer


def check_short(text: str, rationale: str, row: Mapping[str, Any], name: str) -> None:
    """Check that a gold answer of kind text, from column ``name`` of a row, is no whole solution.

    Raises:
        FieldError: The text has more than `LONGEST_ANSWER` characters, or more than `_SHORT` and several
            sentences or lines, or it is the row's rationale; the message names the row's other columns.
    """
    label = _LABEL.match(text)
    rest = text[label.end() :] if label else text
    has_sentences = any(end < len(rest) for end in breaks(rest))
    is_long = len(text) > (_SHORT if has_sentences else LONGEST_ANSWER)
    if not is_long and text != rationale:
        return
    fault = "is the rationale" if text == rationale else f"is a text of {len(text)} characters"
    others = ", ".join(str(other) for other in row if other != name)
    raise FieldError(
        f"field {name!r} {fault}, no short answer; set questions.columns.answer to the column of the "
        f"short answer (there are {others}), or questions.answer_separator"
    )


def _closing_brace(text: str, start: int) -> int:
    """Return the position of the brace that closes the one before ``start``; the text's end without."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return brace.start()
    return len(text)
