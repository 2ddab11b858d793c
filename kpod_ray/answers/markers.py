r"""Announcements of an answer ("the answer is", "Answer:", "####", ``\boxed{}``), and sentence ends.

Invariant: every search is linear in the length of the text, for any text. Only the last 100
announcements and at most 300 characters after each announcement are read.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from kpod_ray.algorithm.steps import last_sentence_end, sentence_ends

LONGEST_ANSWER = 300
"""Most characters after an announcement, or before a concluding sentence, that are read."""
BEFORE_ANSWER = " \t\r\n:=*"
"""Characters that may stand between an announcement and its answer."""
ANNOUNCEMENT = re.compile(
    r"(?=[#\\acbr])(?:"  # possible first characters: most positions fail here, which saves time
    r"\#{4,}(?!\W{0,5}(?:step|part|case)\b)"  # a heading such as "#### Step 2" announces no answer
    r"|\\f?boxed\s{0,2}\{"
    r"|(?<!wrong\s)(?<!incorrect\s)(?<!his\s)(?<!her\s)(?<!their\s)"  # excludes "this answer", too
    r"\b(?:answer|(?:correct|best|right)\s(?:choice|option))\*{0,2}"
    r"(?:\s{0,2}\([^()\n]{0,60}\))?(?:\sto\s[^.:\n]{1,100}?)?\s{0,2}"
    r"(?:(?:is|are|was|would\sbe|will\sbe)\b(?!\snot\b)|[:=])"
    r"|(?<![^\n])A:(?=[^\n]{1,40}\Z))",
    re.IGNORECASE,
)
"""Matches an announcement, up to the characters before its answer. A ``\\boxed`` match ends in "{"."""
_MOST_ANNOUNCEMENTS = 100
_BRACE = re.compile(r"[{}]")
_LABEL = re.compile(r"\W{0,3}[A-Z][.:]\s")
_SENTENCE_BREAK = re.compile(r"[!?](?=\s|\Z)|\n\s*")


def announced(text: str) -> Iterator[str]:
    r"""Yield the text after each announcement up to the sentence's end, the last announcement first.

    A yielded text has at most 300 characters, may be empty, includes the mark that ends the sentence,
    and begins after the white space, colons, "=" and "*" that follow the announcement. A calculation
    continues over the following lines as long as these contain "=", or the line before ends with "=".
    After ``\boxed{`` the text before the closing brace is yielded, or the rest of the line if no brace
    closes. Only the last 100 announcements count. White space at the end of ``text`` is ignored.
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
    """Return the positions AFTER the ends of the sentences and lines of a text, ascending, each once.

    A position lies after a full stop and the closing quotes and brackets that follow (`sentence_ends`),
    after "!" or "?" before white space or the end of the text, or after a newline and the white space
    that follows.
    """
    return sorted({*sentence_ends(text), *(m.end() for m in _SENTENCE_BREAK.finditer(text))})


def last_break(text: str) -> int:
    """Return the last position of `breaks`, which lies AFTER a sentence or line; 0 if there is none."""
    return max(last_sentence_end(text), *(m.end() for m in _SENTENCE_BREAK.finditer(text)), 0)


def sentence_length(segment: str) -> int:
    """Return the length of the first sentence in characters, with the mark or newline that ends it.

    The sentence ends at the first position of `breaks`, or at the end of the segment. The full stop
    after the letter of a choice ("B. the bank") ends no sentence.
    """
    label = _LABEL.match(segment)
    start = label.end() if label else 0
    rest = segment[start:]
    mark = _SENTENCE_BREAK.search(rest)
    first_mark = mark.end() if mark else len(rest)
    return start + min(first_mark, next(sentence_ends(rest), first_mark))


def _calculation_length(segment: str) -> int:
    """Return the length of a calculation of one or more lines, or of the first sentence."""
    length = sentence_length(segment)
    if not segment[:length].endswith("\n"):  # the common case: only a line can be continued
        return length
    for end in [*breaks(segment), len(segment)]:
        if end > length:
            if not _goes_on(segment[:length], segment[length:end]):
                break
            length = end
    return length


def _goes_on(calculation: str, line: str) -> bool:
    """Return whether the next line belongs to a calculation."""
    if not calculation.endswith("\n") or "=" not in calculation:
        return False
    return "=" in line or calculation.rstrip().endswith("=")


def _closing_brace(segment: str) -> int:
    r"""Return the position of the brace that closes ``\boxed{``; the end of the line if none does."""
    depth = 1
    for brace in _BRACE.finditer(segment):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return brace.start()
    return len(segment.partition("\n")[0])
