"""Read the weighted rationales of a run as plain records, for code outside kpod_ray."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kpod_ray.data.corpus import Span, corpus_rows
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.export import kpod_row
from kpod_ray.pipeline.lookup import find_run
from kpod_ray.storage.bad_rows import BadRow, place
from kpod_ray.storage.user_files import read_rows


@dataclasses.dataclass(frozen=True, slots=True)
class WeightedExample:
    """One question with its rationale, the rationale's token weights and its reasoning steps.

    All offsets are numbers of characters from the start of ``rationale``.
    """

    id: str
    """Id of the question; unique in the corpus. Further rationales of a question have the id
    ``<question id>#<sample index>``."""
    question: str
    """Text of the question, without the choices."""
    choices: tuple[str, ...]
    """Texts of the choices of a multiple-choice question; empty for other questions."""
    answer: str
    """Gold answer."""
    rationale: str
    """Reasoning without the closing answer sentence."""
    token_weights: tuple[Span, ...]
    """``(start, end, weight)`` of each token of the rationale: the token covers the characters
    ``[start, end)``, and its weight is w of Eq. 3, in [0, 1]."""
    steps: tuple[tuple[int, int], ...]
    """``(start, end)`` of each reasoning step. A step begins where the step before it ends; together the
    steps cover the rationale."""


def read_corpus(source: str, overrides: Sequence[str] = ()) -> Iterator[WeightedExample]:
    """Yield the weighted rationales of a run or of an exported file, in the order they were written.

    The call finds the run or the file; the iteration reads the rows in batches, so that the memory
    needed doesn't grow with the number of rows. Nothing is written, and Ray isn't used.

    Args:
        source: a run whose phases ``teacher`` and ``weigh`` are finished, given by its YAML file of
            settings or by its folder ``runs/NAME`` (a path or an address such as ``s3://...``); or a
            local ``.jsonl`` file that ``kpod export`` wrote in the format ``kpod``.
        overrides: ``dotted.path=value`` texts that change settings of the YAML file; ignored for a
            ``.jsonl`` file.

    Raises:
        KpodError: `find_run` fails, a phase isn't finished, the file doesn't exist, or, during the
            iteration, a file can't be read or was changed, or a row doesn't have the format ``kpod``.
    """
    if Path(source).suffix.lower() == ".jsonl":
        return (_example_of_file(source, line, row) for line, row in read_rows(source))
    run = find_run(source, overrides)
    rows = corpus_rows(run.finished("teacher"), run.finished("weigh"))
    return (_example(kpod_row(row)) for row in rows)


def _example_of_file(path: str, line: int, row: Mapping[str, Any] | BadRow) -> WeightedExample:
    if isinstance(row, BadRow):
        raise KpodError(str(row))
    try:
        return _example(row)
    except (KeyError, TypeError, ValueError) as error:
        raise KpodError(
            f"{place(path, line)}: no row of kpod export in the format kpod ({error})"
        ) from error


def _example(row: Mapping[str, Any]) -> WeightedExample:
    """Convert a row of the export format ``kpod``.

    Raises:
        KeyError, TypeError, ValueError: A field is missing or has another type.
    """
    return WeightedExample(
        id=row["id"],
        question=row["question"],
        choices=tuple(row["choices"]),
        answer=row["answer"],
        rationale=row["rationale"],
        token_weights=tuple((start, end, weight) for start, end, weight in row["weights"]),
        steps=tuple((start, end) for start, end in row["steps"]),
    )
