r"""Announcements of an answer ("the answer is", "Answer:", "####", ``\boxed{}``), and sentence ends.

Invariant: every search is linear in the length of the text, for any text. Only the last 100
announcements and at most 300 characters after each announcement are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kpod_ray.algorithm.steps import last_sentence_end, sentence_ends

LONGEST_ANSWER = 300
"""Most characters after an announcement, or before a concluding sentence, that are read."""
BEFORE_ANSWER = " \t\r\n:=*"
"""Characters that may stand between an announcement and its answer."""
_DEFINITE = (
    r"[\s:*\"'(\\$\[{-]{1,6}(?:[0-9]|(?-i:[A-Z])|(?:yes|no|true|false|negative|minus|zero|two|three|four|"
    r"five|six|seven|eight|nine|ten|eleven|twelve|twenty)\b)"
)
"""Matches what follows "should be" if it is an answer: "The answer should be a place" describes one."""
ANNOUNCEMENT = re.compile(
    r"(?=[#\\acbr])(?:"  # possible first characters: most positions fail here, which saves time
    r"\#{4,}(?!\W{0,5}(?:step|part|case)\b)"  # a heading such as "#### Step 2" announces no answer
    r"|\\f?boxed\s{0,2}\{"
    r"|(?<!wrong\s)(?<!incorrect\s)(?<!his\s)(?<!her\s)(?<!their\s)"  # excludes "this answer", too
    r"\b(?:answer|(?:correct|best|right)\s(?:choice|option))\*{0,2}"
    r"(?:\s{0,2}\([^()\n]{0,60}\))?(?:\sto\s[^.:\n]{1,100}?)?\s{0,2}"
    r"(?:(?:(?:is|are|was|equals|would\sbe|will\sbe|comes\s(?:out\s)?to|turns\sout\sto\sbe)"
    rf"|(?:should|must|could|may|might|has\sto|ought\sto)\sbe(?={_DEFINITE}))"
    r"\b(?!\s(?:not\b|(?:found|calculated|obtained|computed|derived)\sby\b))|[:=])"
    r"|(?<![^\n])A:(?=[^\n]{1,40}\Z))",
    re.IGNORECASE,
)
"""Matches an announcement, up to the characters before its answer. A ``\\boxed`` match ends in "{"."""
_MOST_ANNOUNCEMENTS = 100
_SUBJECT = re.compile(
    r"(?=[iawb])\b(?:is|are|was|be)\sthe\s"
    r"(?:(?:most|correct|right|best|final|only|likely|appropriate|suitable|logical)\s){0,2}"
    r"(?:answer|choice|option)\b",
    re.IGNORECASE,
)
"""Matches the words that announce the answer before them, as in "18 is the answer"."""
_LONGEST_SUBJECT = 60
_BEFORE_SUBJECT = re.compile(
    r".*(?:[,;:.!?\n]\s|\b(?:so|therefore|thus|hence|that|conclude|and|but|then)\s)",
    re.IGNORECASE | re.DOTALL,
)
_NO_SUBJECT = re.compile(
    r"\s*(?:(?:neither|nor|not|none|this|that|it|which|what|who|here|there|where)\b.*)?",
    re.IGNORECASE | re.DOTALL,
)
_PURPOSE = re.compile(
    r"\bto\s(?:find|get|calculate|determine|compute|reach|obtain|derive|check|verify|see|explain)"
    r"(?:\sout)?(?:\s(?:the|this|an|our|my|final|correct|right)){0,3}\s\Z",
    re.IGNORECASE,
)
"""Matches the words before "the answer:" that announce a calculation and no answer."""
_LONGEST_PURPOSE = 60
_DISPLAYED = re.compile(
    r"[\s*:]{0,20}\n\s{0,20}(?![0-9]{1,2}[.)]\s)[-+$(\\\[]{0,4}(?:[0-9]|[a-z]\s?=)[^\n]{0,200}="
)
"""Matches a calculation in a line of its own, which gives the answer."""
_COLON = re.compile(r"[:=]|\w\s?:")
_FIRST_ITEM = re.compile(r"[\s*:]{0,20}\n[\s*]{0,20}(?:1[.)]|\(1\)|step\s1\b)", re.IGNORECASE)
_SECOND_ITEM = re.compile(r"\n[\s*]{0,20}(?:2[.)]|\(2\)|step\s2\b)", re.IGNORECASE)
_LONGEST_ITEM = 1000
_UNKNOWN = re.compile(
    r"\banswer\s[^.:\n]{0,40}?(?:\b(?:is|was|remains)\s(?:still\s)?(?:not\s(?:known|clear|given|certain|"
    r"possible|provided|determin)|un(?:known|clear|determined|defined|certain)|impossible|indeterminate)"
    r"|(?:cannot|can't|can\snot|could\snot)\sbe\s(?:determined|found|known|calculated|computed|given))"
    r"[^.\n]*",
    re.IGNORECASE,
)
_THOUGHT_START = re.compile(r"\s*<(?:think|thinking|thought)>", re.IGNORECASE)
_THOUGHT_END = re.compile(r"</(?:think|thinking|thought)>", re.IGNORECASE)
_BRACE = re.compile(r"[{}]")
_LABEL = re.compile(r"\W{0,3}[A-Z][.:]\s")
_TITLE = re.compile(
    r"(?:\b(?P<before>\w+)\s)?\b"
    r"(?P<title>St|Mt|Ft|Pt|Gen|Col|Sgt|Lt|Capt|Gov|Sen|Rev|Pres|Prof|Dr|Mr|Mrs|Ms|[A-Z])\.\Z"
)
_LONGEST_TITLE = 30
_NAME = re.compile(r"\s?([A-Z][\w'\u2019-]*)")
_NO_NAMES = frozenset(
    re.findall(
        r"\w+",
        "A An As Because But For He Hence His Her I If In It Its She Since So That The Their Then There "
        "Therefore These They This Thus We You",
    )
)
"""Words that begin a sentence after a letter with a full stop, and no name."""
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
    matches = find_announcements(text, 0, len(text))
    if "is the " in text or "be the " in text or "are the " in text or "was the " in text:
        matches = sorted([*matches, *_SUBJECT.finditer(text)], key=re.Match.start)
    for match in matches[: -_MOST_ANNOUNCEMENTS - 1 : -1]:
        segment = text[match.end() : match.end() + LONGEST_ANSWER]
        if match.re is _SUBJECT:
            yield from _subject(text[max(0, match.start() - _LONGEST_SUBJECT) : match.start()])
        elif match.group().endswith("{"):
            yield segment[: _closing_brace(segment)]
        else:
            segment = segment.lstrip(BEFORE_ANSWER)
            yield segment[: _calculation_length(segment)]


def find_announcements(text: str, start: int, end: int) -> list[re.Match[str]]:
    """Return the matches of `ANNOUNCEMENT` in a span of a text that announce an answer, in order.

    "To find the answer:" announces none, nor does "Answer:" before the lines of a numbered list.
    """
    return [
        match
        for match in ANNOUNCEMENT.finditer(text, start, end)
        if not _COLON.match(text, match.end() - 1) or not _announces_steps(match)
    ]


def without_thought(text: str) -> str:
    """Return what follows the last ``</think>`` of a text; nothing if a first thought doesn't end.

    A text without such tags is unchanged. The names ``thinking`` and ``thought`` count, too.
    """
    if "<" not in text:
        return text
    ends = list(_THOUGHT_END.finditer(text))
    if ends:
        return text[ends[-1].end() :]
    return "" if _THOUGHT_START.match(text) else text


def after_unknown(text: str) -> str:
    """Return what follows the last sentence that calls the answer unknown; else the whole text."""
    if "answer" not in text:
        return text
    statements = list(_UNKNOWN.finditer(text))
    return text[statements[-1].end() :] if statements else text


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
    for stop in sentence_ends(rest):
        if stop >= first_mark or not _is_in_name(rest, stop):
            return start + min(first_mark, stop)
    return start + first_mark


def _is_in_name(text: str, stop: int) -> bool:
    """Return whether a full stop is in a name such as "St. Louis" or "J. K. Rowling"."""
    title = _TITLE.search(text, max(0, stop - _LONGEST_TITLE), stop)
    follower = _NAME.match(text, stop)
    if title is None or follower is None:
        return False
    before = title["before"]
    if len(title["title"]) > 1:  # "Main St." ends with the street
        return not before or not before[0].isupper() or before == "The"
    return (not before or before[0].isupper()) and follower[1] not in _NO_NAMES


def _announces_steps(match: re.Match[str]) -> bool:
    text, end = match.string, match.end()
    lead = text[max(0, match.start() - _LONGEST_PURPOSE) : match.start()]
    if "to " in lead.lower() and _PURPOSE.search(lead):
        return _DISPLAYED.match(text, end) is None
    first = _FIRST_ITEM.match(text, end)
    return bool(first and _SECOND_ITEM.search(text, first.end(), first.end() + _LONGEST_ITEM))


def _subject(before: str) -> Iterator[str]:
    """Yield the text that "is the answer" announces, from the text before; nothing for a pronoun."""
    lead = _BEFORE_SUBJECT.match(before)
    subject = before[lead.end() :] if lead else before
    if not _NO_SUBJECT.fullmatch(subject):
        yield subject.strip()


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
