"""Compare the samples of one question: duplicates, the most diverse texts, the majority answer.

Texts are compared by their word triples. The Jaccard index of two texts is the number of triples
that both texts contain, divided by the number of triples that at least one of the texts contains;
the index is 1 for texts with the same words in the same order. Answers are compared by their values.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence

from kpod_ray.answers.extraction import answers_equal

_WORD = re.compile(r"\w+|[^\w\s]")
_TRIPLE = 3
Triples = frozenset[tuple[str, ...]]
"""The word triples of a text."""


def plain_text(text: str) -> str:
    """Return a text with its case folded, each run of white space as one blank, and none at its ends."""
    return " ".join(text.casefold().split())


def word_triples(text: str) -> Triples:
    """Return the set of triples of consecutive words and punctuation marks of a text, with folded case.

    A text of fewer than three words and marks gives one entry, the tuple of all of them, which is empty
    for an empty text.
    """
    words = _WORD.findall(text.casefold())
    if len(words) < _TRIPLE:
        return frozenset({tuple(words)})
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def jaccard_index(first: Triples, second: Triples) -> float:
    """Return the Jaccard index, in [0, 1], of two sets of triples, of which at least one isn't empty."""
    num_shared = len(first & second)
    return num_shared / (len(first) + len(second) - num_shared)


def duplicates(texts: Sequence[str], near: float | None) -> list[bool]:
    """Return for each text whether the text repeats an earlier text.

    Texts that differ only in white space and case are always duplicates of the first of them. With
    ``near``, in (0, 1], a text is also a duplicate if its Jaccard index with an earlier text that is no
    duplicate itself is at least ``near``; the time then grows with the square of the number of texts.
    """
    seen = set[str]()
    originals = list[Triples]()
    repeats = []
    for text in texts:
        plain = plain_text(text)
        is_duplicate = plain in seen
        if not is_duplicate and near is not None:
            triples = word_triples(plain)
            is_duplicate = any(jaccard_index(triples, other) >= near for other in originals)
            if not is_duplicate:
                originals.append(triples)
        seen.add(plain)
        repeats.append(is_duplicate)
    return repeats


def most_diverse(texts: Sequence[str], num_chosen: int) -> list[int]:
    """Return the indices of at most ``num_chosen`` diverse texts, in the order of a greedy selection.

    The first two texts are the pair with the smallest Jaccard index. Each further text is the text whose
    largest Jaccard index with the selected texts is smallest. If ``num_chosen``, at least 1, is 1, the
    text with the smallest mean Jaccard index with all others is selected. Of equally good texts the
    earlier text is selected. If there are no more than ``num_chosen`` texts, all indices are returned in
    ascending order. The time grows with the square of the number of texts.
    """
    if len(texts) <= num_chosen:
        return list(range(len(texts)))
    shared = _shared([word_triples(text) for text in texts])
    left = list(range(len(texts)))
    if num_chosen == 1:
        return [min(left, key=lambda i: math.fsum(shared[i]))]
    pairs = itertools.combinations(left, 2)
    first, second = min(pairs, key=lambda pair: shared[pair[0]][pair[1]])
    chosen = [first, second]
    left = [i for i in left if i not in chosen]
    largest = [max(row[i] for i in chosen) for row in shared]
    while len(chosen) < num_chosen:
        next_one = min(left, key=largest.__getitem__)
        left.remove(next_one)
        chosen.append(next_one)
        largest = list(map(max, largest, shared[next_one]))
    return chosen


def _shared(triples: Sequence[Triples]) -> list[list[float]]:
    """Return the symmetric matrix of the Jaccard indices of all texts, with 1 on the diagonal."""
    shared = [[1.0] * len(triples) for _ in triples]
    for (i, first), (j, second) in itertools.combinations(enumerate(triples), 2):
        shared[i][j] = shared[j][i] = jaccard_index(first, second)
    return shared


def majority_answer(answers: Sequence[str], kind: str, min_fraction: float) -> str | None:
    """Return the most frequent answer, in the spelling of its first occurrence; None if too few agree.

    Answers of equal value for this kind of question (`answers_equal`), such as ``0.5`` and ``1/2`` for
    ``number``, are counted together. Of two equally frequent answers the answer that occurs first is
    returned. At least the fraction ``min_fraction``, in (0, 1], of all answers must be equal to the
    returned answer, itself included. ``answers`` may be empty, which gives None.
    """
    counts = Counter[str]()
    # Count equal spellings first: comparing the values of two answers is slow.
    for answer, count in Counter(answers).items():
        counts[_spelling(answer, counts, kind)] += count
    for answer, count in counts.most_common(1):
        if count / len(answers) >= min_fraction:
            return answer
    return None


def _spelling(answer: str, known: Counter[str], kind: str) -> str:
    """Return the known spelling of an answer with the same value, else the answer itself."""
    return next((other for other in known if answers_equal(answer, other, kind)), answer)
