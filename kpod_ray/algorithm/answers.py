r"""Answers: found in a text, compared with gold, and cut off the end of a rationale.

The last-answer rule: what follows the LAST announcement ("the answer is", "Answer:", "####",
``\boxed{}``, a last line "A: 18") that holds an answer of the asked kind; without one, the last
candidate of the last sentence that has any (so a "Therefore, ..." counts if it closes the text).

Kinds are "number", "choice" (a letter), "boolean" ("yes"/"no") and "text". Answers are strings; a
number is written as a plain decimal without commas, signs of currency, percent or trailing zeros,
or as a reduced fraction if it has no finite decimal.

Invariant: every search is linear in the text, whatever stands in it. Looked at are the last
hundred announcements and at most 300 characters after each.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from kpod_ray.algorithm.numbers import (
    NUMBER,
    numbers_equal,
    parse_number,
    plain_spelling,
    write_number,
)
from kpod_ray.algorithm.steps import sentence_ends

_LONGEST_ANSWER = 300
_LONGEST_CLOSING = 80
_LONGEST_PHRASE = 3
_MOST_ANNOUNCEMENTS = 100
_MOST_CLOSINGS = 8
_NUM_LETTERS = 26
_LATEX_TEXT = re.compile(r"\\text\s?\{([^{}]*)\}")
_BRACE = re.compile(r"[{}]")

_LETTER = re.compile(r"\(([A-Za-z])\)|(?<![\w'\u2019])(?:([A-Za-z])\)|([A-Z])(?![\w'\u2019]))")
_WORD_LETTER = re.compile(r"[AI] (?!(?:because|since|as|is|was|and|or|for|due)\b)[a-z]")
_BOOLEAN = re.compile(r"\b(?:yes|no|true|false)\b", re.IGNORECASE)
_BOOLEANS = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}

_ANNOUNCEMENT = re.compile(
    r"\#{4,}(?!\W{0,5}(?:step|part|case)\b)"  # a heading announces nothing
    r"|\\f?boxed\s{0,2}\{"
    r"|(?<!wrong\s)(?<!incorrect\s)\b(?:answer|(?:correct|best|right)\s(?:choice|option))\*{0,2}"
    r"(?:\s{0,2}\([^()\n]{0,60}\))?(?:\sto\s[^.:\n]{1,100}?)?\s{0,2}"
    r"(?:(?:is|are|was|would\sbe|will\sbe)\b(?!\snot\b)|[:=])"
    r"|(?<![^\n])A:(?=[^\n]{1,40}\Z)",
    re.IGNORECASE,
)
_BEFORE_ANSWER = " \t\r\n:=*"
_AFTER_ANSWER = " \t\r\n.!*$\"'\u201d\u2019)"
_LABEL = re.compile(r"\W{0,3}[A-Z][.:]\s")
_LIST_MARK = re.compile(r"\s*[0-9]{1,3}[.)]")
_SENTENCE_BREAK = re.compile(r"[!?](?=\s|\Z)|\n\s*")
_CONNECTIVES = frozenset({"so", "therefore", "thus", "hence", "finally", "and", "then", "which"})
_FILLERS = frozenset({"the", "my", "our", "final", "correct", "right", "best", "means", "that"})
_LEAD_WORDS = _CONNECTIVES | _FILLERS | {""}
_MARKS = "*#>-:,;$\\("
_WORD = re.compile(r"\S+")
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
_DIGIT = re.compile(r"[0-9]")
_UNREADABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ud800-\udfff]")


def extract_answer(text: str, kind: str, choices: Sequence[str] = ()) -> str | None:
    r"""Return the answer that a text gives, by the last-answer rule of this module.

    Numbers lose sign of currency, percent, unit and scale words ("1.8 billion" is 1.8). Of an
    equation the answer is what follows the last "="; a dash between two numbers is no sign, so
    "16 - 10 = 6" gives 6 and the range "10-15" has the numbers 10 and 15. After an announcement
    the first number counts, without one the last, except that a number which repeats the result
    just calculated goes first ("... 3 * 4 = 12. So he eats 12 apples in 4 days."). Numbers too
    large to be meant (over 400 characters or an exponent over 300) are passed over.

    Choices are letters ("(c)", "c)", "C"); only where a sentence has none, texts of choices.

    Args:
        text: Whole output of a model or of a teacher.
        kind: "number", "choice", "boolean" or "text".
        choices: Options of a multiple-choice question in the order of their letters; without
            them any letter is accepted.

    Returns:
        The answer in plain form ("1250.5", "-2", "2/3", "C", "yes"); for text what follows the
        announcement up to the end of its sentence, without quotes. None if there is none.

    Raises:
        ValueError: The kind is none of the four.
    """
    _check_kind(kind)
    plain = plain_spelling(text) if kind == "number" else text
    for segment in _announced(plain):
        if answer := _first_answer(_candidates(segment, kind, choices), kind):
            return answer
    if kind == "text":
        return None
    for start, end in _sentences_backwards(plain):
        candidates = _candidates(plain[start:end], kind, choices)
        if kind == "number" and len(candidates) > 1 and end - start <= _LONGEST_ANSWER:
            candidates = _result_last(candidates, plain[max(0, start - _LONGEST_ANSWER) : start])
        if answer := _first_answer(reversed(candidates), kind):
            return answer
    return None


def answers_equal(predicted: str, gold: str, kind: str) -> bool:
    """Tell whether two answers are the same.

    Numbers are compared exactly as fractions. Only if one of the two has more than five decimals
    (or no finite decimal at all) is a relative difference of 1e-6 allowed: "0.333333" equals
    "1/3" and "2.9999999999999996" equals "3", while "0.33" is not "1/3" and "1000001" is not
    "1000000". What can't be read as a number, or is too large to be meant, equals nothing.
    Letters and booleans are compared without case ("true" is "yes"); text without case, outer
    quotes, final full stop and differences of white space, but with its articles.

    Raises:
        ValueError: The kind is none of "number", "choice", "boolean" and "text".
    """
    _check_kind(kind)
    if kind == "number":
        return numbers_equal(parse_number(predicted), parse_number(gold))
    first, second = (" ".join(s.casefold().split()) for s in (predicted, gold))
    if kind == "text":
        return _unquoted(first) == _unquoted(second)
    first, second = first.strip("()."), second.strip("().")
    return _BOOLEANS.get(first, first) == _BOOLEANS.get(second, second)


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
        end = _closing_start(text, end)
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


def _check_kind(kind: str) -> None:
    if kind not in ("number", "choice", "boolean", "text"):
        raise ValueError(f"kind must be number, choice, boolean or text, not {kind!r}")


def _announced(text: str) -> Iterator[str]:
    """Yield what follows each announcement up to the end of its sentence, the last first."""
    text = text.rstrip()
    for match in reversed(deque(_ANNOUNCEMENT.finditer(text), maxlen=_MOST_ANNOUNCEMENTS)):
        segment = text[match.end() : match.end() + _LONGEST_ANSWER]
        if match.group().endswith("{"):
            yield segment[: _closing_brace(segment)]
        else:
            segment = segment.lstrip(_BEFORE_ANSWER)
            yield segment[: _sentence_length(segment)]


def _closing_brace(segment: str) -> int:
    """Return where the brace opened before the segment closes, or where the line ends."""
    depth = 1
    for brace in _BRACE.finditer(segment):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return brace.start()
    return len(segment.partition("\n")[0])


def _breaks(text: str) -> list[int]:
    """Return where the sentences and lines of a text end, in order."""
    return sorted({*sentence_ends(text), *(m.end() for m in _SENTENCE_BREAK.finditer(text))})


def _sentence_length(segment: str) -> int:
    label = _LABEL.match(segment)  # the full stop of "B. the bank" ends nothing
    start = label.end() if label else 0
    breaks = _breaks(segment[start:])
    return start + breaks[0] if breaks else len(segment)


def _sentences_backwards(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of sentences from the text's end, leaving out marks of numbered lists."""
    end = len(text)
    for start in reversed([0, *_breaks(text)]):
        is_list_mark = text[end : end + 1] == " " and _LIST_MARK.fullmatch(text, start, end)
        if not is_list_mark and _LETTER_OR_DIGIT.search(text, start, end):
            yield start, end
        end = start


def _candidates(segment: str, kind: str, choices: Sequence[str]) -> list[str]:
    """Return what may be answers in a piece of text, as it is written there, in order."""
    if kind == "number":
        return _number_candidates(segment)
    if kind == "choice":
        return _letters(segment, len(choices) or _NUM_LETTERS) or _choice_texts(segment, choices)
    if kind == "boolean":
        return [match.group() for match in _BOOLEAN.finditer(segment)]
    return [segment]


def _number_candidates(segment: str) -> list[str]:
    numbers = list(NUMBER.finditer(segment))
    equals = segment.rfind("=")
    results = [number.group() for number in numbers if number.start() > equals >= 0]
    return results[:1] or [number.group() for number in numbers]


def _result_last(numbers: list[str], before: str) -> list[str]:
    """Order the numbers of a concluding sentence so that the one just calculated is last.

    "3 * 4 = 12. Therefore, he eats 12 apples in 4 days." answers 12, not 4.
    """
    result = NUMBER.search(before, before.rfind("=") + 1) if "=" in before else None
    value = parse_number(result.group()) if result else None
    return sorted(numbers, key=lambda number: value is not None and parse_number(number) == value)


def _letters(segment: str, num_choices: int) -> list[str]:
    letters = []
    for match in _LETTER.finditer(segment):
        letter = match.group(match.lastindex or 0).upper()
        is_word = match.lastindex == 3 and _WORD_LETTER.match(segment, match.start())
        if ord(letter) - ord("A") < num_choices and not is_word:
            letters.append(letter)
    return letters


def _choice_texts(segment: str, choices: Sequence[str]) -> list[str]:
    letters: dict[str, str] = {}
    for index, choice in enumerate(choices):
        letters.setdefault(choice.strip().casefold(), chr(ord("A") + index))
    longest_first = sorted(filter(None, letters), key=len, reverse=True)
    if not longest_first:
        return []
    pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)"
    return [letters[match] for match in re.findall(pattern, segment.casefold())]


def _first_answer(candidates: Iterable[str], kind: str) -> str | None:
    """Return the first candidate that is an answer, in plain form."""
    return next(filter(None, (_plain_answer(candidate, kind) for candidate in candidates)), None)


def _plain_answer(candidate: str, kind: str) -> str | None:
    if kind == "number":
        number = parse_number(candidate)
        return None if number is None else write_number(number)
    if kind == "boolean":
        return _BOOLEANS[candidate.casefold()]
    if kind == "text":
        return _unquoted(_LATEX_TEXT.sub(r"\1", candidate)) or None
    return candidate


def _unquoted(text: str) -> str:
    return (
        text.strip(" \t\n\r*\"'`\u201c\u201d\u2018\u2019")
        .removesuffix(".")
        .strip(" *\"'`\u201c\u201d\u2018\u2019")
    )


def _closing_start(text: str, end: int) -> int:
    """Return where the closing that ends at ``end`` starts; ``end`` if none ends there."""
    low = max(0, end - 2 * _LONGEST_ANSWER)
    body_end = low + len(text[low:end].rstrip())
    for match in _ANNOUNCEMENT.finditer(text, low, body_end):
        rest = text[match.end() : body_end].lstrip(_BEFORE_ANSWER)
        if _is_last_sentence(rest):
            lead = text[low : match.start()]
            sentence_start = [0, *_breaks(lead)][-1]
            start = _lead_start(lead[sentence_start:], match.group())
            return end if start is None else low + sentence_start + start
    return end


def _is_last_sentence(rest: str) -> bool:
    """Tell whether nothing follows an announcement but the answer: short and not calculated."""
    if len(rest) > _LONGEST_CLOSING or "=" in rest:
        return False
    return not rest[_sentence_length(rest) :].strip(_AFTER_ANSWER)


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
