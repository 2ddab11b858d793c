"""Self-consistency: the answer that most samples of a question agree on (Wang et al. 2023)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kpod_ray.algorithm.answers import answers_equal


def majority_answer(answers: Sequence[str], kind: str, least_share: float) -> str | None:
    """Return the answer given most often, as it was first written.

    Answers are counted together when they are equal as answers, such as ``0.5`` and ``1/2``. Of two
    given equally often the one that came first counts.

    Args:
        answers: without those that are empty.
        kind: of the question: number, choice, boolean or text.
        least_share: in (0, 1]; at least this share of the answers must agree.

    Returns:
        None when too few agree, or there are none.
    """
    counts = Counter[str]()
    for answer, count in Counter(answers).items():
        counts[_spelling(answer, counts, kind)] += count
    for answer, count in counts.most_common(1):
        if count / len(answers) >= least_share:
            return answer
    return None


def _spelling(answer: str, known: Counter[str], kind: str) -> str:
    """Return how an equal answer was written before, else the answer itself."""
    return next((other for other in known if answers_equal(answer, other, kind)), answer)
