"""Leaks: rationales that state their answer before they reason, or instead of it.

A student that is trained on them learns to guess first and to find reasons afterwards. Only an
announced answer counts, and only the right one: "The answer is a place where food is kept." opens
the reasoning and leaks nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kpod_ray.algorithm.announcements import (
    ANNOUNCEMENT,
    BEFORE_ANSWER,
    LONGEST_ANSWER,
    sentence_length,
)
from kpod_ray.algorithm.answers import answers_equal, extract_answer

_LEAD_WORDS = frozenset(
    {"so", "therefore", "thus", "hence", "then", "well", "sure", "okay", "a", "solution"}
    | {"the", "my", "our", "final", "correct", "right", "best", "\\"}
)
"""Words before an announcement that are no reasoning yet; "a" is that of "A: The answer is"."""

_PIECE = re.compile(r"\w+|#{4,}|\\")
_WORD = re.compile(r"\w+")
_CLAUSE_END = re.compile(r"[,;]\s|\s(?:because|since|as|for)\b|\}")
_MARKS_AROUND_ANSWER = 20
"""Characters beside the answer's own that a text may have that is nothing but the answer."""


def leaks_answer(reasoning: str, answer: str, kind: str, choices: Sequence[str] = ()) -> bool:
    """Tell whether a rationale starts with the announcement of its answer, or is nothing else.

    "The answer is 12. Because 5 + 7 = 12." and "12." leak the answer 12. "5 + 7 = 12. The answer is
    12." doesn't, nor does "The answer is 5 + 7 = 12.", which calculates it. Linear in the text.

    Args:
        reasoning: The rationale without its closing.
        answer: Its answer, as `extract_answer` gives it.
        kind: "number", "choice", "boolean" or "text".
        choices: Options of a multiple-choice question in the order of their letters.

    Raises:
        ValueError: The kind is none of the four.
    """
    first = _announced_first(reasoning)
    if first and "=" not in first:
        stated = extract_answer(f"Answer: {first}", kind, choices)
        if stated is not None and answers_equal(stated, answer, kind):
            return True
    return _is_answer_alone(reasoning, answer, kind, choices)


def _announced_first(text: str) -> str:
    """Return the clause that a text announces as its answer before it says anything else."""
    for piece in _PIECE.finditer(text):
        announcement = ANNOUNCEMENT.match(text, piece.start())
        if announcement:
            end = announcement.end()
            segment = text[end : end + LONGEST_ANSWER].lstrip(BEFORE_ANSWER)
            return _CLAUSE_END.split(segment[: sentence_length(segment)], maxsplit=1)[0]
        if piece.group().casefold() not in _LEAD_WORDS:
            break
    return ""


def _is_answer_alone(text: str, answer: str, kind: str, choices: Sequence[str]) -> bool:
    """Tell whether a text holds the answer, or the text of that choice, and not one word more."""
    named = f"{answer} {choices[ord(answer) - ord('A')]}" if choices else answer
    if len(text) > 2 * len(named) + _MARKS_AROUND_ANSWER:
        return False
    words, allowed = (set(_WORD.findall(part.casefold())) for part in (text, named))
    return set() < words <= allowed or answers_equal(text.strip(" \n*"), answer, kind)
