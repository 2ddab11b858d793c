r"""Announcements of an answer ("the answer is", "Answer:", "####", ``\boxed{}``), and what they hold.

Invariant: every search is linear in the text, whatever stands in it. Looked at are the last
hundred announcements and at most 300 characters after each.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from kpod_ray.algorithm.steps import last_sentence_end, sentence_ends

LONGEST_ANSWER = 300
"""Characters after an announcement, or before a concluding sentence, that are looked at."""
BEFORE_ANSWER = " \t\r\n:=*"
"""Characters that may stand between an announcement and its answer."""
ANNOUNCEMENT = re.compile(
    r"(?=[#\\acbr])(?:"  # what one can start with: most places fail here, at once
    r"\#{4,}(?!\W{0,5}(?:step|part|case)\b)"  # a heading announces nothing
    r"|\\f?boxed\s{0,2}\{"
    r"|(?<!wrong\s)(?<!incorrect\s)(?<!his\s)(?<!her\s)(?<!their\s)"  # "his" of "this answer", too
    r"\b(?:answer|(?:correct|best|right)\s(?:choice|option))\*{0,2}"
    r"(?:\s{0,2}\([^()\n]{0,60}\))?(?:\sto\s[^.:\n]{1,100}?)?\s{0,2}"
    r"(?:(?:is|are|was|would\sbe|will\sbe)\b(?!\snot\b)|[:=])"
    r"|(?<![^\n])A:(?=[^\n]{1,40}\Z))",
    re.IGNORECASE,
)
_MOST_ANNOUNCEMENTS = 100
_BRACE = re.compile(r"[{}]")
_LABEL = re.compile(r"\W{0,3}[A-Z][.:]\s")
_SENTENCE_BREAK = re.compile(r"[!?](?=\s|\Z)|\n\s*")


def announced(text: str) -> Iterator[str]:
    """Yield what follows each announcement up to the end of its sentence, the last first.

    A calculation goes on over the lines that follow as long as they calculate too, or where a
    line ends with "=".
    """
    text = text.rstrip()
    for match in reversed(deque(ANNOUNCEMENT.finditer(text), maxlen=_MOST_ANNOUNCEMENTS)):
        segment = text[match.end() : match.end() + LONGEST_ANSWER]
        if match.group().endswith("{"):
            yield segment[: _closing_brace(segment)]
        else:
            segment = segment.lstrip(BEFORE_ANSWER)
            yield segment[: _calculation_length(segment)]


def breaks(text: str) -> list[int]:
    """Return where the sentences and lines of a text end, in order."""
    return sorted({*sentence_ends(text), *(m.end() for m in _SENTENCE_BREAK.finditer(text))})


def last_break(text: str) -> int:
    """Return the last of `breaks`, or 0."""
    return max(last_sentence_end(text), *(m.end() for m in _SENTENCE_BREAK.finditer(text)), 0)


def sentence_length(segment: str) -> int:
    """Return the length of the first sentence; the full stop of "B. the bank" ends none."""
    label = _LABEL.match(segment)
    start = label.end() if label else 0
    rest = segment[start:]
    mark = _SENTENCE_BREAK.search(rest)
    first_mark = mark.end() if mark else len(rest)
    return start + min(first_mark, next(sentence_ends(rest), first_mark))


def _calculation_length(segment: str) -> int:
    length = sentence_length(segment)
    if not segment[:length].endswith("\n"):  # as for most: nothing can go on
        return length
    for end in [*breaks(segment), len(segment)]:
        if end > length:
            if not _goes_on(segment[:length], segment[length:end]):
                break
            length = end
    return length


def _goes_on(calculation: str, line: str) -> bool:
    """Tell whether the line after a calculation belongs to it."""
    if not calculation.endswith("\n") or "=" not in calculation:
        return False
    return "=" in line or calculation.rstrip().endswith("=")


def _closing_brace(segment: str) -> int:
    """Return where the brace opened before the segment closes, or where the line ends."""
    depth = 1
    for brace in _BRACE.finditer(segment):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return brace.start()
    return len(segment.partition("\n")[0])
