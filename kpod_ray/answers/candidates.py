"""Candidates: the pieces of a text that may be answers of a kind, and whether several are listed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from kpod_ray.answers.markers import breaks
from kpod_ray.answers.numbers import NUMBER, numbers_equal, parse_number, plain_number

NUM_LETTERS = 26
BOOLEANS = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
"""A boolean as people write it, in lower case -> its plain form."""
_LETTER = re.compile(r"\(([A-Za-z])\)|(?<![\w'\u2019])(?:([A-Za-z])\)|([A-Z])(?![\w'\u2019]))")
_WORD_LETTER = re.compile(r"[AI] (?!(?:because|since|as|is|was|and|or|for|due)\b)[a-z]")
_FIRST_LETTER = re.compile(r"[\s\"'*$]{0,5}(?:(?:option|choice)\s)?" + _LETTER.pattern)
_LABELLED = re.compile(r"[\s*]{0,5}(?:\(([A-Za-z])\)|([A-Za-z])[).:])\s")
_ASIDE = re.compile(
    r"(?:\b(?:because|since|not|rather\sthan|instead\sof|unlike|while|whereas|although)|,\sas)\b"
    r"(?:(?!\b(?:so|therefore|thus|hence)\b).)*",
    re.IGNORECASE | re.DOTALL,
)
"""Matches what a sentence says about other choices than the chosen one."""
_NOT_DETERMINER = (
    r"(?! (?!(?:it|he|she|they|we|you|i|this|that|there|the|because|since|as|for|and|or|but|so|if|not|"
    r"in|on|at|to|of|from|by|with|when|while|unless|although|though|even|due)\b)[a-z])"
)
_BOOLEAN = re.compile(
    r"(?P<not>(?:\b(?:not|never|cannot|hardly|no\slonger)|n['\u2019]t)\s"
    r"(?:(?:be|really|quite|always|necessarily|entirely|actually|completely|strictly|a|the)\s){0,2})?"
    rf"\b(?:(?P<word>yes|true|false)|(?P<un>untrue)|(?P<no>no){_NOT_DETERMINER})\b",
    re.IGNORECASE,
)
"""Matches a boolean, negated or not. "no" before a noun ("no doubt") isn't one."""
_FIRST_WORD = re.compile(
    r"\s*(?:(?:so|thus|therefore|hence|then|finally|overall|in\s(?:conclusion|short|summary)),?\s)?"
    rf"[\"'*(]{{0,3}}(?:yes|no{_NOT_DETERMINER})\b",
    re.IGNORECASE,
)
_OTHER_BOOLEAN = {"yes": "no", "no": "yes"}
_INTRODUCTION = re.compile(
    r"(?:after|in|for|if|with|on|when|during|within|since)\b[^,.\n=]{1,60}, ", re.IGNORECASE
)
_CLAUSE_WORD = re.compile(
    r"[.;?!=<>]\s|=|\b(?:because|since|as|for|not|but|so|is|are|was|were|while|than|if|which|that|in|"
    r"after|of|per|at|from|who|when|makes?|gives?|leaves?)\b",
    re.IGNORECASE,
)
"""Matches what shows that two candidates aren't members of one list."""
_JOINED = re.compile(
    r"[\s*$%)\"'\]}]*(?P<words>[^\n]{0,60}?)[\s*$%)\"'\]}]*"
    r"(?P<join>,|/|&|;|\b(?:or|and|nor)\b)"
    r"(?:\s(?:or|and|possibly|maybe|perhaps|even|also))?"
    r"[\s(*$\"'\[{]*(?:(?:option|choice|the)\s\(?|[a-z]\s?=\s?-?)?",
    re.IGNORECASE,
)
"""Matches the text between two members of a list."""
_RANGE = re.compile(r"\s?(?:-|to)\s?")
_AFTER_COMMA = re.compile(r"[\s)*$%\"'\]}]*(?:[.,;!?/&]|\Z|\n|(?:or|and)\b)", re.IGNORECASE)
_AFTER_AND = re.compile(r"(?![)\s*\"'%\w]{0,30}\s(?:is|are|was|were|has|have|remain|would|left)\b)")
_RESTATED = re.compile(r"[^,]*, or [^,]*")
_UNIT = re.compile(r" [a-z]", re.IGNORECASE)
"""With `_RESTATED`, matches one answer in two units, as in "120 minutes, or 2 hours"."""
_SECOND_EQUATION = re.compile(r"\s?(?:or|and)\s[a-z]\s?=\s?\Z", re.IGNORECASE)


class Candidate(NamedTuple):
    """A piece of a text that may be an answer."""

    start: int
    """Position of the first character in the text."""
    end: int
    """Position after the last character."""
    answer: str
    """The answer: a number, letter, or "yes" or "no"; a number may be written in any spelling."""


def find_candidates(segment: str, kind: str, choices: Sequence[str]) -> list[Candidate]:
    """Return the candidates for an answer of a kind ("number", "choice", "boolean") in order."""
    if kind == "number":
        return _numbers(segment)
    if kind == "boolean":
        return [Candidate(*match.span(), _boolean(match)) for match in _BOOLEAN.finditer(segment)]
    return _letters(segment, len(choices) or NUM_LETTERS) or _choice_texts(segment, choices)


def first_answer(segment: str, kind: str, choices: Sequence[str]) -> str | None:
    """Return the answer that the text after an announcement gives.

    Returns:
        The first candidate in plain form; an empty text if the text announces several different
        answers ("5 or 6", "(A) and (B)", "10-15"), or a letter that is no choice; None if the text
        holds no candidate.
    """
    segment = _without_introduction(segment) if kind == "number" else segment
    if kind == "choice" and _names_no_choice(segment, len(choices) or NUM_LETTERS):
        return ""
    found = (
        Candidate(candidate.start, candidate.end, answer)
        for candidate in find_candidates(segment, kind, choices)
        if (answer := plain_answer(candidate.answer, kind))
    )
    first = last = next(found, None)
    if first is None or last is None:
        return None
    if _has_earlier_equation(segment, first, kind):
        return ""
    for member in found:
        if not _are_listed(segment, last, member, kind):
            break
        if not _are_equal(last, member, kind):
            return ""
        last = member
    return first.answer


def last_candidates(segment: str, kind: str, choices: Sequence[str]) -> list[Candidate]:
    """Return the candidates of a sentence that announces no answer, the most likely one last.

    A choice in a clause about other choices ("because (A) is wrong", "not A") comes before the others.
    """
    found = find_candidates(segment, kind, choices)
    if kind == "number" and "=" in segment:
        return found[:1] if found and found[0].start > segment.rfind("=") else found
    if kind != "choice" or len(found) < 2 or not _LETTER.fullmatch(segment, *found[0][:2]):
        return found
    asides = [match.span() for match in _ASIDE.finditer(segment)]
    return sorted(found, key=lambda c: not any(low <= c.start < high for low, high in asides))


def leading_answer(text: str, kind: str, choices: Sequence[str]) -> str | None:
    """Return the answer that a text without announcement states in front; None if there is none.

    A choice is in front if the text begins with its label ("B. A bank") and holds no other letter of a
    choice. A boolean is in front if a sentence begins with "yes" or "no"; the last such sentence counts.
    """
    if kind == "choice" and (label := _LABELLED.match(text)):
        letter = (label[1] or label[2]).upper()
        if {found.answer for found in _letters(text, len(choices) or NUM_LETTERS)} <= {letter}:
            return letter if ord(letter) - ord("A") < (len(choices) or NUM_LETTERS) else None
    if kind == "boolean":
        for start in reversed([0, *breaks(text)]):
            if _FIRST_WORD.match(text, start) and (match := _BOOLEAN.search(text, start)):
                return _boolean(match)
    return None


def plain_answer(candidate: str, kind: str) -> str | None:
    """Return a candidate in plain form; None for a number that is too large, or that divides by 0."""
    return plain_number(candidate) if kind == "number" else candidate


def _numbers(segment: str) -> list[Candidate]:
    """Return the numbers after the last "=", or else all numbers."""
    numbers = [Candidate(*match.span(), match.group()) for match in NUMBER.finditer(segment)]
    equals = segment.rfind("=")
    return [number for number in numbers if number.start > equals >= 0] or numbers


def _boolean(match: re.Match[str]) -> str:
    word = match["word"] or match["no"] or "false"
    plain = BOOLEANS[word.casefold()]
    return _OTHER_BOOLEAN[plain] if match["not"] else plain


def _letters(segment: str, num_choices: int) -> list[Candidate]:
    """Return the letters of choices in a text, without the words "A" and "I"."""
    letters = []
    for match in _LETTER.finditer(segment):
        letter = match.group(match.lastindex or 0).upper()
        if ord(letter) - ord("A") < num_choices and not _is_word(match):
            letters.append(Candidate(*match.span(), letter))
    return letters


def _is_word(letter: re.Match[str]) -> bool:
    start = letter.start(letter.lastindex or 0)
    return letter.lastindex == 3 and _WORD_LETTER.match(letter.string, start) is not None


def _names_no_choice(segment: str, num_choices: int) -> bool:
    """Return whether a text begins with a letter that is no choice."""
    match = _FIRST_LETTER.match(segment)
    if match is None or _is_word(match):
        return False
    return ord(match.group(match.lastindex or 0).upper()) - ord("A") >= num_choices


def _choice_texts(segment: str, choices: Sequence[str]) -> list[Candidate]:
    """Return the letters of the choices whose texts stand in a text, in order."""
    letters: dict[str, str] = {}
    for index, choice in enumerate(choices):
        letters.setdefault(choice.strip().casefold(), chr(ord("A") + index))
    longest_first = sorted(filter(None, letters), key=len, reverse=True)
    if not longest_first:
        return []
    # An alternation takes the first branch that matches: "New York" must stand before "New".
    pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)"
    matches = re.finditer(pattern, segment.casefold())
    return [Candidate(*match.span(), letters[match.group()]) for match in matches]


def _without_introduction(segment: str) -> str:
    """Return a text without a first clause such as "After 6 days," if a number follows the clause."""
    introduction = _INTRODUCTION.match(segment)
    is_left = introduction is not None and NUMBER.search(segment, introduction.end()) is not None
    return segment[introduction.end() :] if introduction and is_left else segment


def _are_equal(first: Candidate, second: Candidate, kind: str) -> bool:
    if kind == "number":
        values = parse_number(first.answer), parse_number(second.answer)
        return numbers_equal(*values) or _are_hundredths(*values)
    return first.answer == second.answer


def _are_hundredths(first: Fraction | None, second: Fraction | None) -> bool:
    """Return whether the numbers are one amount, as in "1.22, or 122 cents" and "1/2, or 50%"."""
    if first is None or second is None:
        return False
    return first.denominator > 1 and 100 * first == second


def _has_earlier_equation(segment: str, result: Candidate, kind: str) -> bool:
    """Return whether a result is the second of two, as in "x = 3 or x = 4"."""
    if kind != "number" or "=" not in segment:
        return False
    before = segment[: result.start]
    joined = _SECOND_EQUATION.search(before)
    if joined is None:
        return False
    earlier = _numbers(before[: joined.start()])
    return bool(earlier) and plain_number(earlier[0].answer) != result.answer


def _are_listed(segment: str, first: Candidate, second: Candidate, kind: str) -> bool:
    """Return whether two candidates that follow each other are members of a list or a range."""
    gap = segment[first.end : second.start]
    if kind == "number" and _RANGE.fullmatch(gap):
        return True
    joined = _JOINED.fullmatch(gap)
    if joined is None or _CLAUSE_WORD.search(joined["words"]):
        return False
    if joined["words"] and _RESTATED.fullmatch(gap) and _UNIT.match(segment, second.end):
        return False
    if joined["join"] in ",;" and not re.search(r"\b(?:or|and)\b", gap):
        return _AFTER_COMMA.match(segment, second.end) is not None
    return joined["join"] in "/&" or _AFTER_AND.match(segment, second.end) is not None
