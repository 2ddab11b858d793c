"""Token weights that lie in a file: of another run, of another program, or made by hand."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.config import FileWeighting
from kpod_ray.data.corpus import Span
from kpod_ray.errors import KpodError
from kpod_ray.records import Rationale, WeightedRationale
from kpod_ray.storage.user_files import BadRow, FieldError, id_field, place, read_rows, text_field

_BATCH_ROWS = 1024


@dataclasses.dataclass(frozen=True)
class ImportedWeights:
    """What a file gave."""

    table: pa.Table
    """Rows of `WeightedRationale`, one a rationale, in the order of the rationales."""
    num_unused: int
    """Rows of the file whose question has no rationale here."""


def read_weights(
    settings: FileWeighting, rationales: pa.Table, *, split_newlines: bool
) -> ImportedWeights:
    """Read the token weights of all rationales.

    Args:
        settings: the file, and the weight of text that it gives none.
        rationales: table of `Rationale` rows, one for each question id.
        split_newlines: how a rationale is cut into steps whose row has no ``steps``.

    Raises:
        KpodError: The file can't be read, a row of it is broken or belongs to another text, a question
            has two rows, or a rationale has none.
    """
    reader = _Reader(settings, rationales, split_newlines)
    tables = [WeightedRationale.schema.empty_table()]
    rows = reader.rows()
    while batch := list(itertools.islice(rows, _BATCH_ROWS)):
        tables.append(WeightedRationale.to_table(batch))
    order = reader.order()
    return ImportedWeights(pa.concat_tables(tables).take(pa.array(order)), reader.num_unused)


class _Reader:
    """Reads the rows of a file, and notes to which rationale each belongs."""

    def __init__(self, settings: FileWeighting, rationales: pa.Table, split_newlines: bool) -> None:
        self.settings, self.split_newlines = settings, split_newlines
        self.texts = rationales["text"].combine_chunks()
        ids = rationales["question_id"].to_pylist()
        self.places = {question_id: row for row, question_id in enumerate(ids)}
        self.found = np.full(len(ids), -1)
        self.num_unused = 0

    def rows(self) -> Iterator[WeightedRationale]:
        """Yield the rows that belong to a rationale, in the file's order."""
        count = 0
        for line, row in read_rows(self.settings.path):
            if isinstance(row, BadRow):
                raise KpodError(f"weights {row}")
            try:
                weighted = self._weighted(row)
            except FieldError as error:
                raise KpodError(f"weights {place(self.settings.path, line)}: {error}") from error
            if weighted is None:
                self.num_unused += 1
                continue
            self.found[self.places[weighted.question_id]] = count
            count += 1
            yield weighted

    def order(self) -> list[int]:
        """Return for every rationale which of the rows yielded is its own."""
        missing = np.flatnonzero(self.found < 0)
        if len(missing):
            lacking = next(i for i, row in self.places.items() if row == missing[0])
            raise KpodError(
                f"weights {self.settings.path}: no row for question {lacking!r}, and so for "
                f"{len(missing)} of {len(self.found)} rationales; add them, or export the corpus "
                "that they belong to"
            )
        return self.found.tolist()

    def _weighted(self, row: Mapping[str, Any]) -> WeightedRationale | None:
        question_id = id_field(row, "id")
        at = self.places.get(question_id)
        if at is None:
            return None
        if self.found[at] >= 0:
            raise FieldError(f"field 'id' is {question_id!r} for the second time")
        text: str = self.texts[at].as_py()
        if text_field(row, "rationale") != text:
            raise FieldError(
                f"field 'rationale' isn't the text of question {question_id!r} in this run; "
                "weights belong to the texts that kpod export writes"
            )
        spans = _filled(_spans(row, len(text)), text, self.settings.default_weight)
        steps = _steps(row, len(text)) or split_steps(text, split_newlines=self.split_newlines)
        return WeightedRationale(
            question_id=question_id,
            text=text,
            token_starts=[start for start, _, _ in spans],
            token_ends=[end for _, end, _ in spans],
            token_weights=[weight for _, _, weight in spans],
            step_starts=[start for start, _ in steps],
            step_ends=[end for _, end in steps],
        )


def _spans(row: Mapping[str, Any], length: int) -> list[Span]:
    """Return the checked spans of a row."""
    spans, last = list[Span](), 0
    for item in _list(row, "weights"):
        if not isinstance(item, Sequence) or len(item) != 3:
            raise FieldError(f"field 'weights': {item!r} is no [start, end, weight]")
        start, end, weight = _character(item[0]), _character(item[1]), item[2]
        if not last <= start <= end <= length:
            raise FieldError(
                f"field 'weights': {item!r} is out of order or outside the text of {length} characters"
            )
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 0 <= weight <= 1:  # NaN is not between either
            raise FieldError(f"field 'weights': the weight of {item!r} must be from 0 to 1")
        spans.append((start, end, float(weight)))
        last = start
    return spans


def _steps(row: Mapping[str, Any], length: int) -> list[tuple[int, int]]:
    """Return the checked reasoning steps of a row, none if it has none."""
    if row.get("steps") is None:
        return []
    steps, last = list[tuple[int, int]](), 0
    for item in _list(row, "steps"):
        if not isinstance(item, Sequence) or len(item) != 2:
            raise FieldError(f"field 'steps': {item!r} is no [start, end]")
        start, end = _character(item[0]), _character(item[1])
        if start != last or end <= start:
            raise FieldError(f"field 'steps': {item!r} doesn't go on where the one before it ends")
        steps.append((start, end))
        last = end
    if last != length:
        raise FieldError(f"field 'steps' ends at {last}; it must cover all {length} characters")
    return steps


def _filled(spans: Sequence[Span], text: str, weight: float) -> list[Span]:
    """Add a span for all text between the given ones, unless it is white space alone."""
    filled, position = list[Span](), 0
    for span in [*spans, (len(text), len(text), weight)]:
        if text[position : span[0]].strip():
            filled.append((position, span[0], weight))
        filled.append(span)
        position = max(position, span[1])
    return filled[:-1]


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    value = row.get(name)
    if not isinstance(value, list):
        raise FieldError(f"field {name!r} must be a list of spans")
    return value


def _character(value: object) -> int:
    """Return a position, which Parquet may hold as a float."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        position = int(value)
        if position == value:
            return position
    raise FieldError(f"{value!r} is no position in a text")


def unweighted(rationale: Rationale, *, split_newlines: bool) -> WeightedRationale:
    """Return a rationale with its reasoning steps and one span of weight 1 over the whole text."""
    steps = split_steps(rationale.text, split_newlines=split_newlines)
    return WeightedRationale(
        question_id=rationale.question_id,
        text=rationale.text,
        token_starts=[0],
        token_ends=[len(rationale.text)],
        token_weights=[1.0],
        step_starts=[start for start, _ in steps],
        step_ends=[end for _, end in steps],
    )
