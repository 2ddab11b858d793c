"""How much texts have in common: duplicates among them, and those that differ most.

Texts are compared by their word triples: the Jaccard index of two texts is the share of the triples
of either that both have, 1 for the same words in the same order.
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


def plain_text(text: str) -> str:
    """Return a text with its case folded and its white space as single blanks."""
    return " ".join(text.casefold().split())


def word_triples(text: str) -> Triples:
    """Return every three words and signs of a text that follow each other, without case.

    A text of fewer than three has one entry, all of its words.
    """
    words = _WORD.findall(text.casefold())
    if len(words) < _TRIPLE:
        return frozenset({tuple(words)})
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def jaccard_index(first: Triples, second: Triples) -> float:
    """Return the share of what either holds that both hold, in [0, 1]; one must hold something."""
    num_shared = len(first & second)
    return num_shared / (len(first) + len(second) - num_shared)


def duplicates(texts: Sequence[str], near: float | None) -> list[bool]:
    """Tell which texts repeat an earlier one.

    A text is compared with all earlier ones that are no duplicates themselves, so the time grows
    with the square of their number where ``near`` is given, else with the texts' length.

    Args:
        texts: in order.
        near: Jaccard index from which on a text is a duplicate, in (0, 1]; None: only white space
            and case may differ.

    Returns:
        One value a text.
    """
    seen, first_ones = set[str](), list[Triples]()
    found = []
    for text in texts:
        plain = plain_text(text)
        is_duplicate = plain in seen
        if not is_duplicate and near is not None:
            triples = word_triples(plain)
            is_duplicate = any(jaccard_index(triples, other) >= near for other in first_ones)
            if not is_duplicate:
                first_ones.append(triples)
        seen.add(plain)
        found.append(is_duplicate)
    return found


def most_diverse(texts: Sequence[str], num_chosen: int) -> list[int]:
    """Choose texts that have little in common, one after the other.

    The first two are the pair with the smallest Jaccard index; each further one is the text whose
    largest index with those chosen is smallest. One text alone is the one that has the least in
    common with all others on average. Ties go to the earlier text. The time grows with the square
    of the number of texts.

    Args:
        texts: in order.
        num_chosen: how many, at least 1.

    Returns:
        So many indices in the order they were chosen in, or those of all texts if there are no more.
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
    """Return the Jaccard index of each text with each, and 1 with itself."""
    shared = [[1.0] * len(triples) for _ in triples]
    for (i, first), (j, second) in itertools.combinations(enumerate(triples), 2):
        shared[i][j] = shared[j][i] = jaccard_index(first, second)
    return shared


def majority_answer(answers: Sequence[str], kind: str, min_fraction: float) -> str | None:
    """Return the answer given most often, as it was first written.

    Answers are counted together when they are equal as answers, such as ``0.5`` and ``1/2``. Of two
    given equally often the one that came first counts.

    Args:
        answers: without those that are empty.
        kind: of the question: number, choice, boolean or text.
        min_fraction: in (0, 1]; at least this share of the answers must agree.

    Returns:
        None when too few agree, or there are none.
    """
    counts = Counter[str]()
    for answer, count in Counter(answers).items():
        counts[_spelling(answer, counts, kind)] += count
    for answer, count in counts.most_common(1):
        if count / len(answers) >= min_fraction:
            return answer
    return None


def _spelling(answer: str, known: Counter[str], kind: str) -> str:
    """Return how an equal answer was written before, else the answer itself."""
    return next((other for other in known if answers_equal(answer, other, kind)), answer)
