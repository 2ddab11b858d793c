"""Closings: the sentence that announces the answer is cut off a rationale's end."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kpod_ray.answers.extraction import answers_equal, extract_answer
from kpod_ray.answers.markers import (
    ANNOUNCEMENT,
    BEFORE_ANSWER,
    LONGEST_ANSWER,
    last_break,
    sentence_length,
)

_LONGEST_CLOSING = 80
_LONGEST_PHRASE = 3
_MOST_CLOSINGS = 8
_AFTER_ANSWER = " \t\r\n.!*$\"'\u201d\u2019)"
_CONNECTIVES = frozenset({"so", "therefore", "thus", "hence", "finally", "and", "then", "which"})
_FILLERS = frozenset({"the", "my", "our", "final", "correct", "right", "best", "means", "that"})
_LEAD_WORDS = _CONNECTIVES | _FILLERS | {""}
_MARKS = "*#>-:,;$\\("
_WORD = re.compile(r"\S+")
_CALCULATION = re.compile(
    r"=|[0-9)](?:\s?[+*\u00d7\u00f7]\s?|\s[-/x]\s)[$(0-9]"  # not "2/3", "10-15"
)
_DIGIT = re.compile(r"[0-9]")
_UNREADABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ud800-\udfff]")


def strip_closing(text: str) -> str:
    r"""Return a rationale without the sentence that announces its answer, if it ends with one.

    Such are "Therefore, the answer is 18.", "So the answer is (c) bank.", "Answer: 18", "#### 18"
    and ``\boxed{18}`` on its own; up to eight in a row are cut. Reasoning stays: the calculation
    of "16 - 3 = 13, so the answer is 13.", the whole of "The answer is 54 - 48 = 6.", of
    "Therefore, she has 18 eggs." and of announcements with more than 80 characters after them.

    Returns:
        A prefix of the text; the text itself, unchanged, if it doesn't end with its answer.
    """
    end = len(text)
    for _ in range(_MOST_CLOSINGS):
        start = _closing_start(text, end)
        if start == end:
            break
        end = start
    return text if end == len(text) else text[:end].rstrip()


def is_readable(text: str, max_chars: int) -> bool:
    r"""Tell whether a text can be a rationale.

    It must hold a letter or digit, at most ``max_chars`` characters, and neither control
    characters (other than newline, tab and carriage return) nor replacement characters U+FFFD nor
    unpaired surrogates, which are the marks of a broken decoding.
    """
    if len(text) > max_chars or _UNREADABLE.search(text):
        return False
    return any(character.isalnum() for character in text)


def _closing_start(text: str, end: int) -> int:
    """Return where the closing that ends at ``end`` starts; ``end`` if none ends there."""
    low = max(0, end - 2 * LONGEST_ANSWER)
    body_end = low + len(text[low:end].rstrip())
    for match in ANNOUNCEMENT.finditer(text, low, body_end):
        rest = text[match.end() : body_end].lstrip(BEFORE_ANSWER)
        if _is_last_sentence(rest):
            lead = text[low : match.start()]
            sentence_start = last_break(lead)
            start = _lead_start(lead[sentence_start:], match.group())
            return end if start is None else low + sentence_start + start
    return end


def _is_last_sentence(rest: str) -> bool:
    """Tell whether nothing follows an announcement but the answer: short and not calculated."""
    if len(rest) > _LONGEST_CLOSING or _CALCULATION.search(rest):
        return False
    return not rest[sentence_length(rest) :].strip(_AFTER_ANSWER)


def _lead_start(lead: str, announcement: str) -> int | None:
    """Return where the closing starts in what stands before the announcement in its sentence.

    That is after the reasoning that shares the sentence, if a connective or a comma parts them;
    else at the start of the sentence, or None if that would cut a calculation.
    """
    words = list(_WORD.finditer(lead))
    is_parted = announcement.startswith("#")
    while words and (word := words[-1].group().strip(_MARKS).casefold()) in _LEAD_WORDS:
        is_parted = is_parted or word in _CONNECTIVES
        words.pop()
    if not words:
        return 0
    last, has_digit = words[-1].group(), _DIGIT.search(lead) is not None
    if is_parted or (last[-1] in ",;:" and (has_digit or len(words) > _LONGEST_PHRASE)):
        return words[-1].start() + len(last.rstrip(",;:"))
    return None if has_digit or "{" in announcement else 0


_WORDS_BEFORE_REASONING = frozenset(
    {"so", "therefore", "thus", "hence", "then", "well", "sure", "okay", "a", "solution"}
    | {"the", "my", "our", "final", "correct", "right", "best", "\\"}
)
"""Words before an announcement that are no reasoning yet; "a" is that of "A: The answer is"."""
_PIECE = re.compile(r"\w+|#{4,}|\\")
_WORD_CHARACTERS = re.compile(r"\w+")
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
        if piece.group().casefold() not in _WORDS_BEFORE_REASONING:
            break
    return ""


def _is_answer_alone(text: str, answer: str, kind: str, choices: Sequence[str]) -> bool:
    """Tell whether a text holds the answer, or the text of that choice, and not one word more."""
    named = f"{answer} {choices[ord(answer) - ord('A')]}" if choices else answer
    if len(text) > 2 * len(named) + _MARKS_AROUND_ANSWER:
        return False
    words, allowed = (set(_WORD_CHARACTERS.findall(part.casefold())) for part in (text, named))
    return set() < words <= allowed or answers_equal(text.strip(" \n*"), answer, kind)
