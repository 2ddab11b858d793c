"""Reasoning steps of a rationale, as character spans (KPOD section on step difficulty).

The paper separates reasoning steps by the symbol ".". A literal reading would split decimals and list
numbers, and would join lines that end without a full stop. In this module a step ends after a full stop
that ends a sentence and, optionally, at newlines.

White space after a full stop belongs to the NEXT step, because tokenizers attach a blank to the word
that follows (" The"): the token then starts in the step of its word.
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
"""Most characters before a full stop that are searched for an abbreviation."""
_LONGEST_MARK = 16
"""Most characters of a list mark such as "  (12) ", white space counted."""
_FEWEST_WORDS = 2
"""Fewest words or numbers of a reasoning step."""


def split_steps(text: str, *, split_newlines: bool) -> list[tuple[int, int]]:
    """Split a rationale into reasoning steps.

    A step ends after a full stop that ends a sentence (`sentence_ends`), closing quotes and brackets
    included. A list number ("1. ", "2) ") at the start of a line or step belongs to the item that
    follows. A piece of fewer than two words or numbers is joined to the step before the piece or, at the
    start of the text, to the step after the piece.

    Args:
        text: The rationale.
        split_newlines: Whether a newline ends a step too; False is the paper's rule.

    Returns:
        Character spans ``[start, end)`` of the steps, in order, which adjoin and cover the text; empty
        only for an empty text. White space after a full stop belongs to the next step; a newline that
        ends a step, the white space after this newline, and white space at the end of the text belong to
        the step before.
    """
    ends = {end for end in sentence_ends(text) if not _is_line_start_mark(text, end)}
    if split_newlines:
        ends.update(match.end() for match in _NEWLINE.finditer(text))
    return _join_short_pieces(text, _without_list_marks(text, sorted(ends | {len(text)})))


def sentence_ends(text: str) -> Iterator[int]:
    """Yield the position after every full stop that ends a sentence, in ascending order.

    The position lies after closing quotes and brackets and before white space; an ellipsis ("...") is
    one full stop. Full stops before a digit ("3.5") and in an abbreviation ("Mr.", "e.g.", "No. 7") end
    no sentence. An abbreviation that may close a sentence ("3 p.m.", "etc.") ends the sentence unless a
    lower-case letter or a digit follows. The full stop of a list number ("1. ") counts as an end.
    """
    return (stop.end() for stop in _FULL_STOP.finditer(text) if _ends_sentence(stop))


def last_sentence_end(text: str) -> int:
    """Return the last position that `sentence_ends` yields; 0 if no sentence ends."""
    # From the end of the text, the first full stop examined is nearly always the answer.
    stops = reversed(list(_FULL_STOP.finditer(text)))
    return next((stop.end() for stop in stops if _ends_sentence(stop)), 0)


def steps_of_tokens(
    token_starts: Sequence[int] | NDArray[np.integer],
    step_starts: Sequence[int] | NDArray[np.integer],
) -> NDArray[np.int64]:
    """Return the reasoning step, from 0, that holds each token's first character, int64 [L].

    ``token_starts`` [L], in any order, and ``step_starts`` [S], strictly ascending, are character
    positions. A token that starts before the first step belongs to step 0.

    Raises:
        ValueError: The step starts don't ascend, or there are tokens but no steps.
    """
    tokens = np.asarray(token_starts, dtype=np.int64)
    steps = np.asarray(step_starts, dtype=np.int64)
    if tokens.size and not steps.size:
        raise ValueError("there are tokens but no reasoning steps to put them in")
    if np.any(np.diff(steps) <= 0):
        raise ValueError("step_starts must ascend")
    return np.maximum(np.searchsorted(steps, tokens, side="right") - 1, 0).astype(np.int64)


def _ends_sentence(stop: re.Match[str]) -> bool:
    text = stop.string
    after = stop.end(1)
    is_before_digit = text[after : after + 1].isdecimal()
    return not is_before_digit and not _is_abbreviation(text, stop.start(), after)


def _is_abbreviation(text: str, dot: int, after: int) -> bool:
    """Return whether the full stop at ``dot`` belongs to an abbreviation and ends no sentence.

    ``after`` is the position after the full stop, or after the last full stop of an ellipsis.
    """
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
    """Return the word (or two dotted initials, "e.g") that ends at ``end``, in lower case."""
    start = end
    low = max(0, end - _LONGEST_ABBREVIATION)
    while start > low and text[start - 1].isalpha():
        start -= 1
    if end - start == 1 and _INITIAL.match(text, max(0, start - 2), start):
        start -= 2
    return text[start:end].casefold()


def _is_line_start_mark(text: str, end: int) -> bool:
    """Return whether the line up to ``end`` is nothing but a list mark such as "1."."""
    line_start = text.rfind("\n", max(0, end - _LONGEST_MARK - 1), end) + 1
    return _is_list_mark(text, line_start, end)


def _is_list_mark(text: str, start: int, end: int) -> bool:
    return end - start <= _LONGEST_MARK and _LIST_MARK.fullmatch(text, start, end) is not None


def _without_list_marks(text: str, ends: list[int]) -> list[tuple[int, int]]:
    """Return the pieces between the ends, without ends that would cut a list mark from its item."""
    pieces: list[tuple[int, int]] = []
    start = 0
    for end in ends:
        if end == len(text) or not _is_list_mark(text, start, end):
            pieces.append((start, end))
            start = end
    return [(start, end) for start, end in pieces if start < end]


def _join_short_pieces(text: str, pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the pieces with every short piece joined to its neighbor."""
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
    """Return whether a piece has fewer than `_FEWEST_WORDS` words or numbers."""
    words = _WORD.finditer(text, start, end)
    # `zip` stops after the second word: a long piece isn't counted to its end.
    return sum(1 for _, _ in zip(range(_FEWEST_WORDS), words, strict=False)) < _FEWEST_WORDS
