"""The corpus: every kept rationale with its question and its token weights."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Generic, TypeVar

from kpod_ray.records import Question, Rationale, Record, WeightedRationale
from kpod_ray.storage.artifacts import Artifact

BATCH_ROWS = 1024
"""Rows of a table that are held in memory at a time."""
Span = tuple[int, int, float]
"""Start (included), end (excluded) and token weight of a piece of text, in characters of the text."""
R = TypeVar("R", bound=Record)


@dataclasses.dataclass(frozen=True, slots=True)
class CorpusRow:
    """One rationale with its question and its token weights.

    ``question.id``, ``rationale.question_id`` and ``weighted.question_id`` are equal.
    """

    question: Question
    rationale: Rationale
    weighted: WeightedRationale


def corpus_rows(teacher: Artifact, weigh: Artifact) -> Iterator[CorpusRow]:
    """Yield the rows of the corpus: one for each row of the table ``weighted``, in the same order.

    The tables are read in batches. Memory is constant if all tables are in the same order, as the phases
    write them; other orders need more memory.

    Args:
        teacher: Finished artifact with the tables ``questions`` and ``rationales``, in each of which a
            question id occurs once.
        weigh: Finished artifact with the table ``weighted``, where a question id occurs once, too.

    Raises:
        RuntimeError: A weighted rationale has no rationale or no question. This error, and those of
            `table_rows`, are raised during the iteration.
    """
    questions = _Lookup((row.id, row) for row in table_rows(teacher, "questions", Question))
    rationales = _Lookup(
        (row.question_id, row) for row in table_rows(teacher, "rationales", Rationale)
    )
    for weighted in table_rows(weigh, "weighted", WeightedRationale):
        row_id = weighted.question_id
        yield CorpusRow(questions.take(row_id), rationales.take(row_id), weighted)


def table_rows(artifact: Artifact, name: str, record: type[R]) -> Iterator[R]:
    """Yield the rows of an artifact's table in order, with `BATCH_ROWS` rows in memory at a time.

    The rows are instances of ``record``; ``name`` is the name of the table without ``.parquet``.

    Raises:
        KpodError: The table can't be read; raised when the iteration starts.
        KeyError: The table lacks a column of the class.
    """
    for batch in artifact.batches(name, BATCH_ROWS):
        yield from record.from_table(batch)


def find_questions(artifacts: Mapping[str, Artifact], ids: Collection[str]) -> dict[str, Question]:
    """Return id -> question of the given ids, from the table of phase ``teacher`` first.

    Only this table holds copies of questions, and the gold answers that samples agreed on. Ids without a
    question are left out. ``artifacts`` holds ``teacher`` and ``questions``; both tables are read up to
    the last question found.

    Raises:
        KpodError: A table can't be read.
    """
    found: dict[str, Question] = {}
    tables = (
        table_rows(artifacts[name], "questions", Question) for name in ("teacher", "questions")
    )
    for question in itertools.chain.from_iterable(tables):
        if len(found) == len(ids):
            break
        if question.id in ids:
            found.setdefault(question.id, question)
    return found


class _Lookup(Generic[R]):
    """Rows by id from an iterator, which is read only up to the rows that are requested."""

    def __init__(self, rows: Iterator[tuple[str, R]]) -> None:
        self.rows = rows
        self.waiting: dict[str, R] = {}

    def take(self, row_id: str) -> R:
        """Return and remove the row of an id."""
        while row_id not in self.waiting:
            found = next(self.rows, None)
            if found is None:
                raise RuntimeError(f"question {row_id!r} has token weights but no rationale")
            self.waiting[found[0]] = found[1]
        return self.waiting.pop(row_id)
