"""The corpus of a run as plain rows, for code outside kpod_ray."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kpod_ray.data.corpus import Span, corpus_rows
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.export import kpod_row
from kpod_ray.pipeline.lookup import find_run
from kpod_ray.storage.user_files import BadRow, place, read_rows


@dataclasses.dataclass(frozen=True, slots=True)
class WeightedExample:
    """One question with its rationale, the rationale's token weights and its reasoning steps."""

    id: str
    """Of the question; unique."""
    question: str
    choices: tuple[str, ...]
    """Options of a multiple-choice question, else empty."""
    answer: str
    """Gold answer."""
    rationale: str
    token_weights: tuple[Span, ...]
    """``(start, end, weight)`` of each token of the rationale: the characters ``[start, end)``, and w of
    Eq. 3."""
    steps: tuple[tuple[int, int], ...]
    """``(start, end)`` of each reasoning step; steps adjoin and cover the rationale."""


def read_corpus(source: str, overrides: Sequence[str] = ()) -> Iterator[WeightedExample]:
    """Return the weighted rationales of a run or of an exported file, in their order.

    Rows are read in batches: memory is the same for any number of them.

    Args:
        source: a run whose phases ``teacher`` and ``weigh`` are finished, given by its YAML file of
            settings or by its folder ``runs/NAME``, a path or an address; or a ``.jsonl`` file of
            ``kpod export`` in the format ``kpod``.
        overrides: ``dotted.path=value``, of the settings in a YAML file.

    Raises:
        KpodError: There is no such run or file, a phase isn't finished, or a row is no such row.
    """
    if Path(source).suffix == ".jsonl":
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
    """Return a row of the format ``kpod`` as a record."""
    return WeightedExample(
        id=row["id"],
        question=row["question"],
        choices=tuple(row["choices"]),
        answer=row["answer"],
        rationale=row["rationale"],
        token_weights=tuple((start, end, weight) for start, end, weight in row["weights"]),
        steps=tuple((start, end) for start, end in row["steps"]),
    )
