"""Find training questions that are equal or nearly equal to a test question.

The similarity of two questions is the Jaccard index of the sets of their word pairs: the number of
neighbouring words that both have, divided by the number that one of them has. All pairs of questions are
compared exactly, by products of sparse matrices; no hashing leaves a pair out.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kpod_ray.config import ArithmeticQuestions, QuestionsConfig
from kpod_ray.questions.gold_answers import normal_number
from kpod_ray.records import Question

NEAR = 0.6
"""Least similarity of nearly equal questions. Of 36 questions of ASDiv that SingleEq rewords, 31 are
found. At 0.5 it would be 34, but also 371 of 400 questions about coin flips that differ in all names."""
_CHUNK_ROWS = 1000
"""Training questions that are compared at the same time."""
_NUMBER = r"[0-9]+(?:[.,][0-9]+)*"
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_MARKS = ".,;:!?\"'()\u2018-\u201d\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f"
_WORD = re.compile(rf"{_NUMBER}|[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+|[^\s\w{_MARKS}]")
"""A number, a word, a character of a script without blanks, or a sign such as ``+``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Contamination:
    """A training question and the test question that it repeats."""

    train_id: str
    test_id: str
    """The equal or most similar test question; of several, the first."""
    similarity: float
    """1 for questions with the same words in the same order; else at least `NEAR`, below 1."""
    question: str
    """Text of the training question."""
    test_question: str


def find_contamination(questions: Sequence[Question]) -> list[Contamination]:
    """Return the training questions that repeat a test question, in the order of the questions.

    Two questions are equal if their words, in order, and their choices, in any order, are the same;
    case, white space and punctuation don't count. They are nearly equal if their similarity is at least
    `NEAR`, they have the same numbers, and their gold answers are the same text, where both have one:
    questions that differ in a number, or ask for another quantity, are different questions.
    """
    train, tests = ([q for q in questions if q.split == split] for split in ("train", "test"))
    if not train or not tests:
        return []
    first = dict[tuple[str, ...], int]()
    for index, test in enumerate(tests):
        first.setdefault(tuple(_words(test)), index)
    most_similar = dict(_near(train, tests))
    found = []
    for index, question in enumerate(train):
        equal = first.get(tuple(_words(question)))
        at, similarity = most_similar.get(index, (0, 0.0)) if equal is None else (equal, 1.0)
        if similarity:
            texts = question.question, tests[at].question
            found.append(Contamination(question.id, tests[at].id, similarity, *texts))
    return found


def without_equal_questions(questions: Sequence[Question]) -> list[Question]:
    """Return the questions without those that are equal to an earlier one, see `find_contamination`."""
    first = dict[tuple[str, ...], Question]()
    for question in questions:
        first.setdefault(tuple(_words(question)), question)
    return list(first.values())


def without_numbers(question: Question) -> Question:
    """Return the question with 0 for every number, and without its answer.

    A question about the same things with other numbers is equal then.
    """
    text = re.sub(_NUMBER, "0", question.question)
    return dataclasses.replace(question, question=text, answer="")


def contamination_warning(repeats: Sequence[Contamination], config: QuestionsConfig) -> str:
    """Return one line about the training questions that repeat test questions; empty without any."""
    if not repeats:
        return ""
    num_equal = sum(repeat.similarity == 1 for repeat in repeats)
    found = (
        f"{num_equal:,} training questions are equal and {len(repeats) - num_equal:,} nearly equal to a "
        f"test question, such as {repeats[0].train_id} to {repeats[0].test_id}"
    )
    if isinstance(config, ArithmeticQuestions):
        return f"{found}: the accuracy may be too high"
    if config.test_duplicates == "drop":
        return f"{found}; they are left out of the training"
    return f"{found}: the accuracy may be too high; set questions.test_duplicates=drop to leave them out"


def _near(
    train: Sequence[Question], tests: Sequence[Question]
) -> Iterator[tuple[int, tuple[int, float]]]:
    """Yield the index of each training question with a nearly equal test question.

    With it come the index of the most similar one and the similarity.
    """
    from sklearn.feature_extraction.text import CountVectorizer  # loads slowly

    shingles = [_word_pairs(test) for test in tests]
    vectorizer = CountVectorizer(analyzer=list, binary=True, dtype=np.int32)
    of_tests = vectorizer.fit_transform(shingles).T
    sizes = np.array([len(pairs) for pairs in shingles])
    keys = _Keys()
    facts = keys.of(tests)
    for start in range(0, len(train), _CHUNK_ROWS):
        chunk = train[start : start + _CHUNK_ROWS]
        chunk_shingles = [_word_pairs(question) for question in chunk]
        shared = (vectorizer.transform(chunk_shingles) @ of_tests).tocoo()
        chunk_sizes = np.array([len(pairs) for pairs in chunk_shingles])
        rows, columns = shared.row, shared.col
        similarity = shared.data / (chunk_sizes[rows] + sizes[columns] - shared.data)
        ours, theirs = keys.of(chunk)[rows], facts[columns]
        same_answer = (ours[:, 1] == theirs[:, 1]) | (ours[:, 1] < 0) | (theirs[:, 1] < 0)
        is_near = (similarity >= NEAR) & (ours[:, 0] == theirs[:, 0]) & same_answer
        rows, columns, similarity = rows[is_near], columns[is_near], similarity[is_near]
        order = np.lexsort((columns, -similarity, rows))
        _, firsts = np.unique(rows[order], return_index=True)
        for at in order[firsts].tolist():
            # Two questions of the same word pairs in another order aren't equal.
            yield start + int(rows[at]), (int(columns[at]), min(float(similarity[at]), 0.999))


class _Keys:
    """Assigns an integer to each set of numbers and to each gold answer, so that arrays compare them."""

    def __init__(self) -> None:
        self.known = dict[Any, int]()

    def of(self, questions: Sequence[Question]) -> np.ndarray:
        """Return an integer for the numbers and one for the answer of each question, [N, 2].

        No answer is -1.
        """
        rows = []
        for question in questions:
            found = re.findall(_NUMBER, question.question)
            numbers = tuple(sorted(normal_number(number) or number for number in found))
            answer = _answer(question)
            rows.append([self._key(numbers), self._key(answer) if answer else -1])
        return np.array(rows)

    def _key(self, value: Any) -> int:
        return self.known.setdefault(value, len(self.known))


def _answer(question: Question) -> str:
    """Return the gold answer in lower case; of a multiple-choice question, the text of the choice."""
    text = question.answer_text()
    return text.casefold()


def _words(question: Question) -> list[str]:
    """Return the words of a question and of its choices, which are sorted, in lower case."""
    parts = [question.question, *sorted(question.choices, key=str.casefold)]
    split = [_WORD.findall(part.casefold()) for part in parts]
    words = [normal_number(word) or word for part in split for word in ("\n", *part)]
    return words[1:] if any(split) else [question.question]


def _word_pairs(question: Question) -> set[tuple[str, ...]]:
    """Return the pairs of neighbouring words; of a question with one word, the word alone."""
    words = _words(question)
    return set(itertools.pairwise(words)) or {tuple(words)}
