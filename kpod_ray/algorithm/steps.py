"""Reasoning steps of a rationale, as character spans (KPOD section on step difficulty).

The paper separates reasoning steps by the symbol "."; taken literally that breaks decimals and
list numbers and glues lines together. Here a step ends after a full stop unless a digit follows
directly, and, if wanted, at newlines.

Invariants of the spans: they are half-open, non-empty, in order, adjoin each other and cover the
whole text. White space after a full stop belongs to the NEXT step, so that a token which carries
its leading blank (" The") starts in its own step; a newline and the white space after it belong
to the step that they end (with newlines off they are white space like any other).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_FULL_STOP = re.compile(r"(\.+)[)\]}\"'\u201d\u2019»*]*")
_NEWLINE = re.compile(r"[\n\r]\s*")
_WORD = re.compile(r"\d(?:[.,]?\d)*|[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_INITIAL = re.compile(r"[^\W\d_]\.")
_LIST_MARK = re.compile(r"[\s(\[*#>•-]{0,8}(?:\d{1,3}|[^\W\d_])[.)*\]\s]{0,4}")
_NEVER_LAST = frozenset({"mr", "mrs", "ms", "dr", "prof", "vs", "e.g", "i.e"})
_RARELY_LAST = frozenset({"approx", "etc", "jr", "sr", "st", "ft", "lb", "lbs", "oz", "sq", "hr"})
_LONGEST_ABBREVIATION = 8
_LONGEST_MARK = 16
_FEWEST_WORDS = 2


def split_steps(text: str, *, split_newlines: bool) -> list[tuple[int, int]]:
    """Split a rationale into reasoning steps.

    A step ends after "." (an ellipsis counts once; closing quotes and brackets go with it) unless
    a digit follows directly or the full stop belongs to an abbreviation (``sentence_ends``). A
    list number ("1. ", "2) ") at the start of a line or step goes with what it numbers. A piece
    of fewer than two words or numbers joins the step before it, or, at the start of the text,
    the step after it.

    Args:
        text: The rationale.
        split_newlines: Whether a newline ends a step too; off in the paper.

    Returns:
        Character spans ``[start, end)``, one a step; empty for an empty text.
    """
    ends = {end for end in sentence_ends(text) if not _is_line_start_mark(text, end)}
    if split_newlines:
        ends.update(match.end() for match in _NEWLINE.finditer(text))
    return _join_short_pieces(text, _without_list_marks(text, sorted(ends | {len(text)})))


def sentence_ends(text: str) -> Iterator[int]:
    """Yield the positions just after every full stop that ends a sentence, in order.

    Full stops before a digit ("3.5", ".3") and of an abbreviation ("Mr.", "e.g.", "No. 7") do not
    count. Where an abbreviation may also be the last word ("3 p.m.", "etc."), it ends the
    sentence unless a lower-case letter or a digit follows.
    """
    return (stop.end() for stop in _FULL_STOP.finditer(text) if _ends_sentence(stop))


def last_sentence_end(text: str) -> int:
    """Return the last of `sentence_ends`, which most texts need no look at the others for, or 0."""
    stops = reversed(list(_FULL_STOP.finditer(text)))
    return next((stop.end() for stop in stops if _ends_sentence(stop)), 0)


def steps_of_tokens(
    token_starts: Sequence[int] | NDArray[np.integer],
    step_starts: Sequence[int] | NDArray[np.integer],
) -> NDArray[np.int64]:
    """Return the reasoning step of every token, by the character at which the token starts.

    A token that straddles a boundary so belongs to the earlier step, and one that starts before
    the first step to step 0.

    Args:
        token_starts: [L], character positions, in any order.
        step_starts: [S], first character of every step, ascending.

    Returns:
        int64 [L], 0-based steps.

    Raises:
        ValueError: The step starts do not ascend, or there are tokens but no steps.
    """
    tokens = np.asarray(token_starts, dtype=np.int64)
    steps = np.asarray(step_starts, dtype=np.int64)
    if tokens.size and not steps.size:
        raise ValueError("there are tokens but no reasoning steps to put them in")
    if np.any(np.diff(steps) <= 0):
        raise ValueError("step_starts must ascend")
    return np.maximum(np.searchsorted(steps, tokens, side="right") - 1, 0).astype(np.int64)


def _ends_sentence(stop: re.Match[str]) -> bool:
    text, after = stop.string, stop.end(1)
    is_before_digit = text[after : after + 1].isdecimal()
    return not is_before_digit and not _is_abbreviation(text, stop.start(), after)


def _is_abbreviation(text: str, dot: int, after: int) -> bool:
    """Tell whether the full stop at ``dot`` is part of a word and not the end of a sentence."""
    word = _word_before(text, dot)
    if not word or after - dot > 1:
        return False
    has_initials = len(word) == 1 or word[1] == "."
    if has_initials and text[after : after + 1].isalpha() and text[after + 1 : after + 2] == ".":
        return True  # the inner full stop of "e.g."
    follower = text[after : after + 2].lstrip(" ")[:1]
    if word == "no":
        return follower.isdecimal() or follower == "#"
    may_be_last = word in _RARELY_LAST or word[1:2] == "."
    return word in _NEVER_LAST or (may_be_last and (follower.islower() or follower.isdecimal()))


def _word_before(text: str, end: int) -> str:
    """Return the word (or two dotted initials, "e.g") that ends here, in lower case."""
    start, low = end, max(0, end - _LONGEST_ABBREVIATION)
    while start > low and text[start - 1].isalpha():
        start -= 1
    if end - start == 1 and _INITIAL.match(text, max(0, start - 2), start):
        start -= 2
    return text[start:end].casefold()


def _is_line_start_mark(text: str, end: int) -> bool:
    line_start = text.rfind("\n", max(0, end - _LONGEST_MARK - 1), end) + 1
    return _is_list_mark(text, line_start, end)


def _is_list_mark(text: str, start: int, end: int) -> bool:
    return end - start <= _LONGEST_MARK and _LIST_MARK.fullmatch(text, start, end) is not None


def _without_list_marks(text: str, ends: list[int]) -> list[tuple[int, int]]:
    """Turn ends into pieces, leaving out an end that would cut a list mark from its item."""
    pieces: list[tuple[int, int]] = []
    start = 0
    for end in ends:
        if end == len(text) or not _is_list_mark(text, start, end):
            pieces.append((start, end))
            start = end
    return [(start, end) for start, end in pieces if start < end]


def _join_short_pieces(text: str, pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
    steps: list[tuple[int, int]] = []
    for start, end in pieces:
        if steps and _is_short(text, start, end):
            steps[-1] = (steps[-1][0], end)
        else:
            steps.append((start, end))
    if len(steps) > 1 and _is_short(text, *steps[0]):
        steps[:2] = [(0, steps[1][1])]
    return steps


def _is_short(text: str, start: int, end: int) -> bool:
    words = _WORD.finditer(text, start, end)
    return sum(1 for _, _ in zip(range(_FEWEST_WORDS), words, strict=False)) < _FEWEST_WORDS
