"""Extraction of the answer from a text, and comparison of answers with gold answers.

Answers are strings in plain form. A number in plain form is a decimal without commas, currency signs,
percent signs or trailing zeros, or a reduced fraction if the number has no finite decimal. A choice is a
capital letter, a boolean "yes" or "no", and a text any text.

Invariant: the time is linear in the length of the text, for any text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import get_args

from kpod_ray.answers.candidates import (
    BOOLEANS,
    Candidate,
    first_answer,
    last_candidates,
    leading_answer,
    plain_answer,
)
from kpod_ray.answers.markers import (
    LONGEST_ANSWER,
    after_unknown,
    announced,
    breaks,
    without_thought,
)
from kpod_ray.answers.number_spelling import plain_spelling
from kpod_ray.answers.numbers import NUMBER, numbers_equal, parse_number, spelled_in_digits
from kpod_ray.records import AnswerKind

_LATEX_TEXT = re.compile(r"\\text\s?\{([^{}]*)\}")
_LIST_MARK = re.compile(r"\s*[0-9]{1,3}[.)]")
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
_DIGIT = re.compile(r"[0-9]")
_TOTAL = re.compile(
    r"\b(?:total|sum|result|difference|product|quotient|remainder|average|mean)\b[^0-9.!?=\n]{0,60}?"
    r"\b(?:is|are|was|were|be|equals|comes\sto)\s(?:now\s|then\s|about\s|only\s|exactly\s)?\Z",
    re.IGNORECASE,
)
"""Matches the words before a number that a sentence names as its result."""
_FURTHER = re.compile(
    r"[-+*/\u00d7\u00f7=] |[-+*/\u00d7\u00f7][0-9]| x |"
    r"\b(?:times|plus|minus|of|or|and|which|so|but)\b"
)
"""Matches what shows that the sentence goes on calculating."""
_REASON = re.compile(r"\b(?:since|because|if|as)\b", re.IGNORECASE)
_WHICH_IS = re.compile(
    r"(?<=[0-9])\s?(?:[-+*/x\u00d7\u00f7]|times|plus|minus)\s?[.,0-9]*[0-9],?\s"
    r"which\s(?:is|makes|gives)\s"
)
"""Matches the words for "=" after an announced calculation."""


def extract_answer(text: str, kind: str, choices: Sequence[str] = ()) -> str | None:
    r"""Return the answer that a text gives, by the last-answer rule.

    The answer is the first candidate after the LAST announcement ("the answer is", "Answer:", "####",
    ``\boxed{}``, a last line "A: 18") that a candidate follows in the same sentence. Without such an
    announcement, the answer is the last candidate of the last sentence that has a candidate. "18 is the
    answer" announces what stands before. Text up to the last ``</think>`` is a thought and not read.

    Several different answers in one announcement are no answer: "5 or 6", "84 sofas and 88 chairs",
    "10-15", "(A) or (B)", "yes or no"; an announced letter that is no choice is none either. After "the
    answer is unknown" only what follows is read. Of several announcements, the last one counts.

    - Number: currency signs, percent signs, units and scale words are dropped ("1.8 billion" gives 1.8,
      because gold answers mostly use the question's unit). The dash in "16 - 10" or "10-15" is no sign.
      In an equation the first number after the last "=" is the only candidate. Numbers in words
      ("twenty-one") count only directly after an announcement. Without an announcement, a number that
      repeats the result just calculated has priority ("... 3 * 4 = 12. So he eats 12 apples in 4
      days."), and so has a number that is called the total, sum or average ("The total is 5 in 2
      days."). Numbers of over 400 characters or with an exponent beyond ±300 are ignored.
    - Choice: the letter of a choice ("(c)", "c)", "C"), or in a sentence without such a letter the text
      of a choice, as whole words in any case. Without an announcement, a label at the start of the text
      ("B. A bank has money.") has priority, and a letter after "because" or "not" has none.
    - Boolean: "yes", "no", "true" or "false" in any case; "true" gives "yes", "false" gives "no", and
      after "not" the opposite. "no" before a noun ("no doubt") is none. Without an announcement, a "yes"
      or "no" that begins a sentence has priority.
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
    plain = without_thought(plain_spelling(text) if kind == "number" else text)
    for segment in announced(plain):
        answer = _announced_answer(segment, kind, choices)
        if answer is not None:
            return answer or None
    if kind == "text":
        return None
    plain = after_unknown(plain)
    return leading_answer(plain, kind, choices) or _last_answer(plain, kind, choices)


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


def _announced_answer(segment: str, kind: str, choices: Sequence[str]) -> str | None:
    """Return the answer in the text after an announcement, where numbers in words count.

    The answer is empty if the text announces something that is no single answer; None without candidate.
    """
    if kind == "text":
        return _unquoted(_LATEX_TEXT.sub(r"\1", segment)) or None
    if kind == "number" and not _DIGIT.match(segment):
        segment = plain_spelling(spelled_in_digits(segment))
    if kind == "number" and "which" in segment:
        segment = _WHICH_IS.sub(" = ", segment)
    return first_answer(segment, kind, choices)


def _last_answer(text: str, kind: str, choices: Sequence[str]) -> str | None:
    """Return the last candidate of the last sentence that has one, in plain form."""
    for start, end in _sentences_backwards(text):
        sentence = text[start:end]
        found = last_candidates(sentence, kind, choices)
        if kind == "number" and len(found) > 1 and end - start <= LONGEST_ANSWER:
            found = _result_last(found, sentence, text[max(0, start - LONGEST_ANSWER) : start])
        for candidate in reversed(found):
            if answer := plain_answer(candidate.answer, kind):
                return answer
    return None


def _result_last(numbers: list[Candidate], sentence: str, before: str) -> list[Candidate]:
    """Return the numbers of a sentence, with those moved last that are the result.

    Those are the number that the sentence names as its total, or else those equal to the result just
    calculated: in "3 * 4 = 12. Therefore, he eats 12 apples in 4 days." the answer is 12, not 4.
    ``before`` is the text before the sentence.
    """
    result = NUMBER.search(before, before.rfind("=") + 1) if "=" in before else None
    value = parse_number(result.group()) if result else None

    def rank(number: Candidate) -> tuple[bool, bool]:
        total = _TOTAL.search(sentence, 0, number.start)
        is_total = total is not None and not (
            _FURTHER.search(sentence, number.end) or _REASON.search(sentence, 0, total.start())
        )
        return is_total, value is not None and parse_number(number.answer) == value

    # A stable sort: equal numbers move to the end, the others keep their order.
    return sorted(numbers, key=rank)


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
