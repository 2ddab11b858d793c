"""Statements of the answer in a rationale: at the end, and before the reasoning.

A closing is the final sentence that announces the answer; the student's target states the gold answer in
its own closing. All functions take time linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kpod_ray.answers.extraction import answers_equal, extract_answer
from kpod_ray.answers.markers import (
    ANNOUNCEMENT,
    BEFORE_ANSWER,
    LONGEST_ANSWER,
    find_announcements,
    last_break,
    sentence_length,
)

_LONGEST_CLOSING = 80
"""Most characters between an announcement and the end of a closing."""
_LONGEST_PHRASE = 3
"""Most words of a phrase before a comma ("For this question, the answer is") that holds no reasoning."""
_MOST_CLOSINGS = 8
"""Most closings in a row that are cut off."""
_AFTER_ANSWER = " \t\r\n.!*$\"'\u201d\u2019)"
"""Characters that may follow the sentence of an answer in a closing."""
_CONNECTIVES = frozenset({"so", "therefore", "thus", "hence", "finally", "and", "then", "which"})
"""Words that separate reasoning from the announcement in the same sentence."""
_ANSWER_MODIFIERS = frozenset({"the", "my", "our", "final", "correct", "right", "best"})
_LEAD_WORDS = _CONNECTIVES | _ANSWER_MODIFIERS | {"means", "that", ""}
"""Words directly before an announcement that belong to the closing."""
_MARKS = "*#>-:,;$\\("
"""Characters that are stripped from a word before the word is looked up."""
_WORD = re.compile(r"\S+")
_CALCULATION = re.compile(
    r"=|[0-9)](?:\s?[+*\u00d7\u00f7]\s?|\s[-/x]\s)[$(0-9]"  # not "2/3", "10-15"
)
_DIGIT = re.compile(r"[0-9]")
_UNREADABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ud800-\udfff]")
_WORDS_BEFORE_REASONING = _ANSWER_MODIFIERS | frozenset(
    {"so", "therefore", "thus", "hence", "then", "well", "sure", "okay", "a", "solution", "\\"}
)
"""Words that may precede the first announcement of a text without being reasoning; "a" is the letter
of "A: The answer is"."""
_PIECE = re.compile(r"\w+|#{4,}|\\")
_WORD_CHARACTERS = re.compile(r"\w+")
_CLAUSE_END = re.compile(r"[,;]\s|\s(?:because|since|as|for)\b|\}")
_MARKS_AROUND_ANSWER = 20
"""Most additional characters of a text that consists of the answer alone."""


def strip_closing(text: str) -> str:
    r"""Return a rationale without its closings, the final sentences that announce the answer.

    Closings are "Therefore, the answer is 18.", "So the answer is (c) bank.", "Answer: 18", "#### 18"
    and ``\boxed{18}`` on its own; up to eight in a row are cut off. "16 - 3 = 13, so the answer is 13."
    becomes "16 - 3 = 13". A sentence is no closing if it calculates the answer ("The answer is 54 - 48 =
    6."), announces no answer ("Therefore, she has 18 eggs."), or has more than 80 characters after the
    announcement.

    Returns:
        The text before the closings without trailing white space, maybe empty; the unchanged text if
        there is no closing.
    """
    end = len(text)
    for _ in range(_MOST_CLOSINGS):
        start = _closing_start(text, end)
        if start == end:
            break
        end = start
    return text if end == len(text) else text[:end].rstrip()


def leaks_answer(reasoning: str, answer: str, kind: str, choices: Sequence[str] = ()) -> bool:
    """Return whether a rationale states its answer before any reasoning, or consists of the answer.

    "The answer is 12. Because 5 + 7 = 12." and "12." leak the answer 12. "5 + 7 = 12. The answer is 12."
    and "The answer is 5 + 7 = 12." don't: both calculate the answer. An empty rationale leaks nothing. A
    rationale consists of the answer if it equals the answer (`answers_equal`), or if it is short and all
    its words occur in the answer or, with ``choices``, in the text of the answer's choice.

    Args:
        reasoning: The rationale without closings, from `strip_closing`.
        answer: Answer of the rationale, from `extract_answer`, not empty; with ``choices``, the capital
            letter of one of them.
        kind: "number", "choice", "boolean" or "text".
        choices: Options of a multiple-choice question in the order of their letters.
    """
    first = _announced_first(reasoning)
    if first and "=" not in first:
        stated = extract_answer(f"Answer: {first}", kind, choices)
        if stated is not None and answers_equal(stated, answer, kind):
            return True
    return _is_answer_alone(reasoning, answer, kind, choices)


def is_readable(text: str, max_chars: int) -> bool:
    """Return whether a text can be a rationale.

    A readable text has a letter or digit, at most ``max_chars`` characters, no control characters except
    newline, tab and carriage return, and no signs of wrong decoding: U+FFFD and unpaired surrogates.
    """
    if len(text) > max_chars or _UNREADABLE.search(text):
        return False
    return any(character.isalnum() for character in text)


def _closing_start(text: str, end: int) -> int:
    """Return the position at which the closing that ends at ``end`` starts; ``end`` if there is none."""
    low = max(0, end - 2 * LONGEST_ANSWER)  # a bounded window keeps the time linear
    body_end = low + len(text[low:end].rstrip())
    for match in find_announcements(text, low, body_end):
        rest = text[match.end() : body_end].lstrip(BEFORE_ANSWER)
        if _is_last_sentence(rest):
            lead = text[low : match.start()]
            sentence_start = last_break(lead)
            start = _lead_start(lead[sentence_start:], match.group())
            return end if start is None else low + sentence_start + start
    return end


def _is_last_sentence(rest: str) -> bool:
    """Return whether the text after an announcement is an answer alone: short, without calculation."""
    if len(rest) > _LONGEST_CLOSING or _CALCULATION.search(rest):
        return False
    return not rest[sentence_length(rest) :].strip(_AFTER_ANSWER)


def _lead_start(lead: str, announcement: str) -> int | None:
    """Return the position in ``lead`` at which the closing starts; None if there is no closing.

    ``lead`` is the part of the sentence before the announcement. If a connective or a comma separates
    reasoning from the announcement, the closing starts after the reasoning. Otherwise the closing is the
    whole sentence, or there is none if the sentence holds a calculation.
    """
    words = list(_WORD.finditer(lead))
    is_separated = announcement.startswith("#")
    while words and (word := words[-1].group().strip(_MARKS).casefold()) in _LEAD_WORDS:
        is_separated = is_separated or word in _CONNECTIVES
        words.pop()
    if not words:
        return 0
    last = words[-1].group()
    has_digit = _DIGIT.search(lead) is not None
    if is_separated or (last[-1] in ",;:" and (has_digit or len(words) > _LONGEST_PHRASE)):
        return words[-1].start() + len(last.rstrip(",;:"))
    return None if has_digit or "{" in announcement else 0


def _announced_first(text: str) -> str:
    """Return the clause after an announcement at the start of a text; empty if there is none."""
    for piece in _PIECE.finditer(text):
        announcement = ANNOUNCEMENT.match(text, piece.start())
        if announcement:
            end = announcement.end()
            segment = text[end : end + LONGEST_ANSWER].lstrip(BEFORE_ANSWER)
            return _CLAUSE_END.split(segment[: sentence_length(segment)], maxsplit=1)[0]
        if piece.group().casefold() not in _WORDS_BEFORE_REASONING:
            break
    return ""


def _is_answer_alone(text: str, answer: str, kind: str, choices: Sequence[str]) -> bool:
    """Return whether a text has no words but those of the answer and of the answer's choice."""
    named = f"{answer} {choices[ord(answer) - ord('A')]}" if choices else answer
    if len(text) > 2 * len(named) + _MARKS_AROUND_ANSWER:
        return False
    words, allowed = (set(_WORD_CHARACTERS.findall(part.casefold())) for part in (text, named))
    return set() < words <= allowed or answers_equal(text.strip(" \n*"), answer, kind)
