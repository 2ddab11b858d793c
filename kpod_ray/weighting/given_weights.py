"""Token weights that are given, not computed: weights from the user's file, and uniform weights.

A file comes from ``kpod export`` of another run or from another program. `read_weights` checks every row
against the rationales of this run, since weights are spans of characters of one exact text.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.config import FileWeighting
from kpod_ray.data.corpus import Span
from kpod_ray.errors import KpodError
from kpod_ray.records import Rationale, WeightedRationale
from kpod_ray.storage.bad_rows import BadRow, place
from kpod_ray.storage.user_files import FieldError, id_field, read_rows, text_field

_BATCH_ROWS = 1024
"""Rows that are converted to Arrow together; Python objects of a whole file would need much memory."""


@dataclasses.dataclass(frozen=True)
class ImportedWeights:
    """The token weights read from a file."""

    table: pa.Table
    """`WeightedRationale` rows, one for each rationale, in the order of the rationales."""
    num_unused: int
    """Number of rows of the file whose question has no rationale in this run."""


def read_weights(
    settings: FileWeighting, rationales: pa.Table, *, split_newlines: bool
) -> ImportedWeights:
    """Read the token weights of all rationales from a file.

    A row of the file has the fields ``id`` (question id), ``rationale`` (the exact text), ``weights`` (a
    list of spans ``[start, end, weight]`` of characters, ``end`` excluded, with weights from 0 to 1) and
    optionally ``steps`` (a list of spans ``[start, end]``, not empty, that cover the text without gap
    and overlap; or null). No ``start`` in ``weights`` is below the one before; spans may overlap or be
    empty. Text outside the spans, unless white space alone, becomes spans with the default weight. A row
    whose id has no rationale is ignored, as are blank lines.

    Args:
        settings: the file, which ends in ``.jsonl`` or ``.parquet``, and the default weight.
        rationales: table of `Rationale` rows, one for each question id.
        split_newlines: whether newlines end reasoning steps where a row of the file has no ``steps``.

    Raises:
        KpodError: The file doesn't exist, has another ending or can't be read, a row is malformed or has
            another text than the rationale, two rows have the id of one rationale, or a rationale has no
            row. An ignored row must still be a JSON object with a valid id.
    """
    reader = _Reader(settings, rationales, split_newlines)
    tables = [WeightedRationale.schema.empty_table()]
    rows = reader.rows()
    while batch := list(itertools.islice(rows, _BATCH_ROWS)):
        tables.append(WeightedRationale.to_table(batch))
    order = reader.order()
    return ImportedWeights(pa.concat_tables(tables).take(pa.array(order)), reader.num_unused)


def check_rows(settings: FileWeighting, question_ids: Collection[str]) -> None:
    """Check the rows of a file of weights that belong to one of some questions, before there are texts.

    Raises:
        KpodError: The file can't be read, a row is malformed, two rows have one of the ids, or no row
            has one.
    """
    seen = set[str]()
    for line, row in read_rows(settings.path):
        if isinstance(row, BadRow):
            raise KpodError(f"weights {row}")
        try:
            question_id = id_field(row, "id")
            if question_id not in question_ids:
                continue
            if question_id in seen:
                raise FieldError(f"field 'id' is {question_id!r} for the second time")
            seen.add(question_id)
            length = len(text_field(row, "rationale"))
            _spans(row, length)
            _steps(row, length)
        except FieldError as error:
            raise KpodError(f"weights {place(settings.path, line)}: {error}") from error
    if not seen:
        raise KpodError(
            f"weights {settings.path}: no row has the id of a training question; give the file that "
            "kpod export writes for these questions"
        )


class _Reader:
    """Reads the rows of a file and assigns each row to a rationale."""

    def __init__(self, settings: FileWeighting, rationales: pa.Table, split_newlines: bool) -> None:
        self.settings = settings
        self.split_newlines = split_newlines
        self.texts = rationales["text"].combine_chunks()
        ids = rationales["question_id"].to_pylist()
        self.rationale_rows = {question_id: row for row, question_id in enumerate(ids)}
        # For each rationale the index of its row among the yielded ones; -1 as long as there is none.
        self.found = np.full(len(ids), -1)
        self.num_unused = 0

    def rows(self) -> Iterator[WeightedRationale]:
        """Yield the checked rows that belong to a rationale, in the order of the file.

        Raises:
            KpodError: The file can't be read, or a row is malformed or belongs to another text.
        """
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
            self.found[self.rationale_rows[weighted.question_id]] = count
            count += 1
            yield weighted

    def order(self) -> list[int]:
        """Return for each rationale the index of its row among the rows that `rows` yielded.

        Raises:
            KpodError: A rationale has no row.
        """
        missing = np.flatnonzero(self.found < 0)
        if len(missing):
            first = next(i for i, row in self.rationale_rows.items() if row == missing[0])
            raise KpodError(
                f"weights {self.settings.path}: no row for question {first!r}, and so for "
                f"{len(missing)} of {len(self.found)} rationales; add them, or export the corpus "
                "that they belong to"
            )
        return self.found.tolist()

    def _weighted(self, row: Mapping[str, Any]) -> WeightedRationale | None:
        """Return the weighted rationale of a row of the file; None if no rationale has the row's id.

        Raises:
            FieldError: A field is malformed, the id is a duplicate, or the text is another one.
        """
        question_id = id_field(row, "id")
        rationale_row = self.rationale_rows.get(question_id)
        if rationale_row is None:
            return None
        if self.found[rationale_row] >= 0:
            raise FieldError(f"field 'id' is {question_id!r} for the second time")
        text: str = self.texts[rationale_row].as_py()
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
    """Return the weighted spans of a row for a text of ``length`` characters.

    Raises:
        FieldError: A span is malformed, out of order or outside the text, or its weight isn't in [0, 1].
    """
    spans = list[Span]()
    last = 0
    for item in _list(row, "weights"):
        if not isinstance(item, Sequence) or len(item) != 3:
            raise FieldError(f"field 'weights': {item!r} is no [start, end, weight]")
        start, end, weight = _character(item[0]), _character(item[1]), item[2]
        if not last <= start <= end <= length:
            raise FieldError(
                f"field 'weights': {item!r} is out of order or outside the text of {length} characters"
            )
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 0 <= weight <= 1:  # the comparison refuses NaN, too
            raise FieldError(f"field 'weights': the weight of {item!r} must be from 0 to 1")
        spans.append((start, end, float(weight)))
        last = start
    return spans


def _steps(row: Mapping[str, Any], length: int) -> list[tuple[int, int]]:
    """Return the reasoning steps of a row as character spans; an empty list without ``steps``.

    Raises:
        FieldError: The steps don't cover the text of ``length`` characters without gap and overlap.
    """
    if row.get("steps") is None:
        return []
    steps = list[tuple[int, int]]()
    last = 0
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
    """Add a span with the default weight for each text outside the given spans, except white space."""
    filled = list[Span]()
    position = 0
    for span in [*spans, (len(text), len(text), weight)]:
        if text[position : span[0]].strip():
            filled.append((position, span[0], weight))
        filled.append(span)
        position = max(position, span[1])
    return filled[:-1]


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    """Return a field that must be a list."""
    value = row.get(name)
    if not isinstance(value, list):
        raise FieldError(f"field {name!r} must be a list of spans")
    return value


def _character(value: object) -> int:
    """Return a character position as an integer.

    Raises:
        FieldError: The value isn't a whole number.
    """
    # A list of [start, end, weight] has one type in Parquet, so positions may be stored as floats.
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        position = int(value)
        if position == value:
            return position
    raise FieldError(f"{value!r} is no position in a text")


def unweighted(rationale: Rationale, *, split_newlines: bool) -> WeightedRationale:
    """Return a rationale with its reasoning steps and one span of weight 1 over the whole text.

    ``split_newlines`` is whether newlines end reasoning steps.
    """
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
