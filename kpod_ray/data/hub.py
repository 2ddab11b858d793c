"""Rows of a Hugging Face data set; ``datasets`` is imported here alone, and only when asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kpod_ray.config import HubQuestions
from kpod_ray.errors import KpodError


def hub_rows(config: HubQuestions, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a data set's split with their numbers, from 1.

    Rows of a data set without an id column get ``<split>-<row number>`` as their id: nobody wrote
    them by hand, and a revision's order is fixed.

    Raises:
        KpodError: The data set can't be loaded, whatever the reason.
    """
    try:
        import datasets

        rows = datasets.load_dataset(
            config.dataset, config.subset, split=split, revision=config.revision
        )
    except (
        Exception
    ) as error:  # a hub, a network, a cache and a parser can all fail, each its own way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise KpodError(
            f"questions: split {split!r} of data set {config.dataset!r} can't be loaded: {reason}; "
            "if the hub can't be reached, use source: file with a downloaded file"
        ) from error
    name = config.columns.id
    has_ids = name in rows.column_names
    for number, row in enumerate(rows, 1):
        yield number, row if has_ids else {**row, name: f"{split}-{number}"}
