"""The finished corpus: every rationale that goes on, with its question and its token weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Generic, TypeVar

from kpod_ray.records import Question, Rationale, Record, WeightedRationale
from kpod_ray.storage.artifacts import Artifact

BATCH_ROWS = 1024
"""Rows of a table that are read at once."""
R = TypeVar("R", bound=Record)


@dataclasses.dataclass(frozen=True, slots=True)
class CorpusRow:
    """One rationale with all that is known of it: the three agree in their question id."""

    question: Question
    rationale: Rationale
    weighted: WeightedRationale


def corpus_rows(teacher: Artifact, weigh: Artifact) -> Iterator[CorpusRow]:
    """Yield the corpus in the order of its weighted rationales.

    The tables are read side by side: memory is flat when they are in the same order, as the phases
    write them. Another order costs memory, and no row.

    Args:
        teacher: finished, with ``questions`` and ``rationales``.
        weigh: finished, with ``weighted``.

    Raises:
        RuntimeError: A weighted rationale has no rationale or no question.
    """
    questions = _Lookup((row.id, row) for row in table_rows(teacher, "questions", Question))
    rationales = _Lookup(
        (row.question_id, row) for row in table_rows(teacher, "rationales", Rationale)
    )
    for weighted in table_rows(weigh, "weighted", WeightedRationale):
        row_id = weighted.question_id
        yield CorpusRow(questions.take(row_id), rationales.take(row_id), weighted)


def table_rows(artifact: Artifact, name: str, record: type[R]) -> Iterator[R]:
    """Yield the rows of an artifact's table; a batch of them is in memory."""
    for batch in artifact.batches(name, BATCH_ROWS):
        yield from record.from_table(batch)


class _Lookup(Generic[R]):
    """Rows by id, read only as far as they are asked for."""

    def __init__(self, rows: Iterator[tuple[str, R]]) -> None:
        self.rows, self.waiting = rows, dict[str, R]()

    def take(self, row_id: str) -> R:
        """Return the row of an id, once."""
        while row_id not in self.waiting:
            found = next(self.rows, None)
            if found is None:
                raise RuntimeError(f"question {row_id!r} has token weights but no rationale")
            self.waiting[found[0]] = found[1]
        return self.waiting.pop(row_id)


Span = tuple[int, int, float]
