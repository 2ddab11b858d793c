"""Extraction of the answer from a text, and comparison of answers with gold answers.

Answers are strings in plain form. A number in plain form is a decimal without commas, currency signs,
percent signs or trailing zeros, or a reduced fraction if the number has no finite decimal. A choice is a
capital letter, a boolean "yes" or "no", and a text any text.

Invariant: the time is linear in the length of the text, for any text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import get_args

from kpod_ray.answers.markers import LONGEST_ANSWER, announced, breaks
from kpod_ray.answers.numbers import (
    NUMBER,
    numbers_equal,
    parse_number,
    plain_number,
    plain_spelling,
    spelled_in_digits,
)
from kpod_ray.records import AnswerKind

_NUM_LETTERS = 26
_LATEX_TEXT = re.compile(r"\\text\s?\{([^{}]*)\}")
_LETTER = re.compile(r"\(([A-Za-z])\)|(?<![\w'\u2019])(?:([A-Za-z])\)|([A-Z])(?![\w'\u2019]))")
_WORD_LETTER = re.compile(r"[AI] (?!(?:because|since|as|is|was|and|or|for|due)\b)[a-z]")
_BOOLEAN = re.compile(r"\b(?:yes|no|true|false)\b", re.IGNORECASE)
BOOLEANS = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
"""A boolean as people write it, in lower case -> its plain form."""
_LIST_MARK = re.compile(r"\s*[0-9]{1,3}[.)]")
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
_DIGIT = re.compile(r"[0-9]")


def extract_answer(text: str, kind: str, choices: Sequence[str] = ()) -> str | None:
    r"""Return the answer that a text gives, by the last-answer rule.

    The answer is the first candidate after the LAST announcement ("the answer is", "Answer:", "####",
    ``\boxed{}``, a last line "A: 18") that a candidate follows in the same sentence. Without such an
    announcement, the answer is the last candidate of the last sentence that has a candidate.

    - Number: currency signs, percent signs, units and scale words are dropped ("1.8 billion" gives 1.8,
      because gold answers mostly use the question's unit). The dash in "16 - 10" or "10-15" is no sign.
      In an equation the first number after the last "=" is the only candidate. Numbers in words
      ("twenty-one") count only directly after an announcement. Without an announcement, a number that
      repeats the result just calculated has priority ("... 3 * 4 = 12. So he eats 12 apples in 4
      days."). Numbers of over 400 characters or with an exponent beyond ±300 are ignored.
    - Choice: the letter of a choice ("(c)", "c)", "C"), or in a sentence without such a letter the text
      of a choice, as whole words in any case.
    - Boolean: "yes", "no", "true" or "false" in any case; "true" gives "yes", "false" gives "no".
    - Text: the rest of the sentence after an announcement, at most 300 characters, without the quotes
      around the rest and the full stop at its end. Without an announcement there is no answer.

    Args:
        text: Complete output of a model.
        kind: "number", "choice", "boolean" or "text".
        choices: Options of a multiple-choice question in the order of their letters, at most 26; if
            empty, any letter is accepted. Other kinds don't use the choices.

    Returns:
        The answer in plain form ("1250.5", "-2", "2/3", "C", "yes"), never empty; None for no answer.

    Raises:
        ValueError: The kind is none of the four.
    """
    _check_kind(kind)
    plain = plain_spelling(text) if kind == "number" else text
    for segment in announced(plain):
        if answer := _first_answer(_announced_candidates(segment, kind, choices), kind):
            return answer
    if kind == "text":
        return None
    for start, end in _sentences_backwards(plain):
        candidates = _candidates(plain[start:end], kind, choices)
        if kind == "number" and len(candidates) > 1 and end - start <= LONGEST_ANSWER:
            candidates = _result_last(candidates, plain[max(0, start - LONGEST_ANSWER) : start])
        if answer := _first_answer(reversed(candidates), kind):
            return answer
    return None


def answers_equal(predicted: str, gold: str, kind: str) -> bool:
    """Return whether two answers of a kind are equal; exchanging the two changes nothing.

    Numbers are compared exactly. A relative difference of 1e-6 is allowed only if one of the numbers has
    more than five decimals or no finite decimal: "0.333333" equals "1/3", but "0.33" differs from "1/3"
    and "1000001" from "1000000". A text that `parse_number` doesn't read equals nothing.

    Choices and booleans are compared without case, and without the parentheses and full stops around
    them; "true" equals "yes", "false" equals "no". Texts are compared without case, outer quotes, final
    full stop, differences of white space, and blanks between single letters ("k p o d" equals "kpod").
    Two empty answers are equal, except as numbers.

    Args:
        predicted: First answer, as `extract_answer` returns or as a person writes it.
        gold: Second answer, in the same form.
        kind: "number", "choice", "boolean" or "text".

    Raises:
        ValueError: The kind is none of the four.
    """
    _check_kind(kind)
    if kind == "number":
        return numbers_equal(parse_number(predicted), parse_number(gold))
    first, second = (" ".join(s.casefold().split()) for s in (predicted, gold))
    if kind == "text":
        return _joined_letters(_unquoted(first)) == _joined_letters(_unquoted(second))
    first, second = first.strip("()."), second.strip("().")
    return BOOLEANS.get(first, first) == BOOLEANS.get(second, second)


def _check_kind(kind: str) -> None:
    if kind not in get_args(AnswerKind):
        raise ValueError(f"kind must be one of {', '.join(get_args(AnswerKind))}, not {kind!r}")


def _sentences_backwards(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of the sentences from the last to the first, without marks of numbered lists."""
    end = len(text)
    for start in reversed([0, *breaks(text)]):
        is_list_mark = text[end : end + 1] == " " and _LIST_MARK.fullmatch(text, start, end)
        if not is_list_mark and _LETTER_OR_DIGIT.search(text, start, end):
            yield start, end
        end = start


def _announced_candidates(segment: str, kind: str, choices: Sequence[str]) -> list[str]:
    """Return the candidates in the text after an announcement, where numbers in words count."""
    if kind == "number" and not _DIGIT.search(segment):
        segment = plain_spelling(spelled_in_digits(segment))
    return _candidates(segment, kind, choices)


def _candidates(segment: str, kind: str, choices: Sequence[str]) -> list[str]:
    """Return the pieces of a text that may be answers of a kind, as written in the text, in order."""
    if kind == "number":
        return _number_candidates(segment)
    if kind == "choice":
        return _letters(segment, len(choices) or _NUM_LETTERS) or _choice_texts(segment, choices)
    if kind == "boolean":
        return [match.group() for match in _BOOLEAN.finditer(segment)]
    return [segment]


def _number_candidates(segment: str) -> list[str]:
    """Return the first number after the last "=", or else all numbers."""
    numbers = list(NUMBER.finditer(segment))
    equals = segment.rfind("=")
    results = [number.group() for number in numbers if number.start() > equals >= 0]
    return results[:1] or [number.group() for number in numbers]


def _result_last(numbers: list[str], before: str) -> list[str]:
    """Return the numbers of a sentence, with those equal to the result just calculated moved last.

    In "3 * 4 = 12. Therefore, he eats 12 apples in 4 days." the answer is 12, not 4. ``before`` is the
    text before the sentence.
    """
    result = NUMBER.search(before, before.rfind("=") + 1) if "=" in before else None
    value = parse_number(result.group()) if result else None
    # A stable sort by a boolean: equal numbers move to the end, the others keep their order.
    return sorted(numbers, key=lambda number: value is not None and parse_number(number) == value)


def _letters(segment: str, num_choices: int) -> list[str]:
    """Return the letters of choices in a text, without the words "A" and "I"."""
    letters = []
    for match in _LETTER.finditer(segment):
        letter = match.group(match.lastindex or 0).upper()
        is_word = match.lastindex == 3 and _WORD_LETTER.match(segment, match.start())
        if ord(letter) - ord("A") < num_choices and not is_word:
            letters.append(letter)
    return letters


def _choice_texts(segment: str, choices: Sequence[str]) -> list[str]:
    """Return the letters of the choices whose texts stand in a text, in order."""
    letters: dict[str, str] = {}
    for index, choice in enumerate(choices):
        letters.setdefault(choice.strip().casefold(), chr(ord("A") + index))
    longest_first = sorted(filter(None, letters), key=len, reverse=True)
    if not longest_first:
        return []
    # An alternation takes the first branch that matches: "New York" must stand before "New".
    pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)"
    return [letters[match] for match in re.findall(pattern, segment.casefold())]


def _first_answer(candidates: Iterable[str], kind: str) -> str | None:
    """Return the first candidate that is an answer, in plain form; None if no candidate is."""
    return next(filter(None, (_plain_answer(candidate, kind) for candidate in candidates)), None)


def _plain_answer(candidate: str, kind: str) -> str | None:
    if kind == "number":
        return plain_number(candidate)
    if kind == "boolean":
        return BOOLEANS[candidate.casefold()]
    if kind == "text":
        return _unquoted(_LATEX_TEXT.sub(r"\1", candidate)) or None
    return candidate


def _unquoted(text: str) -> str:
    return (
        text.strip(" \t\n\r*\"'`\u201c\u201d\u2018\u2019")
        .removesuffix(".")
        .strip(" *\"'`\u201c\u201d\u2018\u2019")
    )


def _joined_letters(text: str) -> str:
    """Return the text without blanks if the text is a word with blanks between letters ("k p o d")."""
    words = text.split()
    is_spelled = all(len(word) == 1 and word.isalpha() for word in words)
    return "".join(words) if is_spelled else text
