"""Read the rows of Parquet and CSV files by Arrow; every error of a file names the file in one line."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from kpod_ray.errors import KpodError
from kpod_ray.storage.bad_rows import BadRow
from kpod_ray.storage.plain_tables import check_plain

ArrowRows = Iterator[tuple[int, dict[str, Any] | BadRow]]
_BATCH_ROWS = 1024
_LARGEST_BLOCK = 64 * 2**20
"""Most bytes of a CSV file that are read at once; no row may be longer."""


def csv_rows(path: str, file: Path, delimiter: str) -> ArrowRows:
    """Yield the row number, from 1, and the row, of every row below the header of a CSV file.

    All values are text, or None for an empty field, so that ``007`` stays what it is. Quoted fields may
    hold line breaks. Rows with another number of values than the header has names are yielded as
    `BadRow` after all others.

    Args:
        path: the file as the user named it, for messages.
        file: the file.
        delimiter: character between two fields.

    Raises:
        KpodError: The file can't be read, is empty or no UTF-8, names a column twice, or has a row of
            over 64 MiB.
    """
    bad: list[BadRow] = []

    def skip(row: pacsv.InvalidRow) -> str:
        """Keep a row that can't be read, and have the reader leave it out."""
        fault = f"{row.actual_columns} values for {row.expected_columns} columns: {row.text[:60]!r}"
        bad.append(BadRow(path, row.number - 1, fault))  # without the header
        return "skip"

    try:
        reading = pacsv.ReadOptions(use_threads=False, block_size=_block_size(file))
        parsing = pacsv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip
        )
        names = _checked_names(path, pacsv.open_csv(file, reading, parsing).schema.names)
        bad.clear()
        types = dict.fromkeys(names, pa.string())
        texts = pacsv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True)
        number = 0
        for batch in pacsv.open_csv(file, reading, parsing, texts):
            skipped = {row.line for row in bad}
            for row in batch.to_pylist():
                number = next(n for n in itertools.count(number + 1) if n not in skipped)
                yield number, row
    except UnicodeDecodeError as error:  # in the names of the columns
        raise KpodError(f"{path} can't be read as CSV: not UTF-8; save it as UTF-8") from error
    except (OSError, pa.ArrowException) as error:
        mend = "; save it as UTF-8" if "UTF8" in str(error) else ""
        raise KpodError(f"{path} can't be read as CSV: {_first_line(error)}{mend}") from error
    yield from ((row.line, row) for row in bad)


def _block_size(file: Path) -> int:
    return min(max(file.stat().st_size + 1, 2**10), _LARGEST_BLOCK)


def _checked_names(path: str, names: list[str]) -> list[str]:
    """Return the names of a CSV file's columns, which must differ."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise KpodError(f"{path}: column {twice[0]!r} is named twice in the first line; rename it")
    return names


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def parquet_rows(path: str, file: Path) -> ArrowRows:
    """Yield the row number, from 1, and the row, of every row of a Parquet file.

    Args:
        path: the file as the user named it, for messages.
        file: the file.

    Raises:
        KpodError: The file can't be read, is no Parquet file, or has columns that may hold code.
    """
    number = 0
    try:
        with pq.ParquetFile(file) as parquet:
            check_plain(parquet.schema_arrow, path)
            for batch in parquet.iter_batches(_BATCH_ROWS):
                for row in _batch_rows(path, number + 1, batch):
                    number += 1
                    yield number, row
    except (OSError, OverflowError, pa.ArrowException) as error:
        raise KpodError(f"{path} can't be read as Parquet: {_first_line(error)}") from error


def _batch_rows(path: str, first: int, batch: pa.RecordBatch) -> Iterator[dict[str, Any] | BadRow]:
    """Yield the rows of a batch; rows with text that is not UTF-8 are yielded as `BadRow`."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:  # raised before the first row: find the bad rows one by one
        for index in range(batch.num_rows):
            yield _batch_row(path, first + index, batch.slice(index, 1))


def _batch_row(path: str, number: int, batch: pa.RecordBatch) -> dict[str, Any] | BadRow:
    try:
        row: dict[str, Any] = batch.to_pylist()[0]
    except UnicodeDecodeError:
        return BadRow(path, number, "not UTF-8")
    return row
