"""Requests that wait for their texts, in files: what is handed around is where a block of them is."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator, Sequence

from kpod_ray.artifacts import Artifact, Store
from kpod_ray.records import GenerationRequest

_FOLDER = "pending"


@dataclasses.dataclass(frozen=True)
class Block:
    """Where some requests are: rows ``[start, end)`` of a file."""

    path: str
    """Relative to the store's root."""
    start: int
    end: int


class Pending:
    """The requests of one call to a service; those that a killed run left are thrown away.

    Args:
        artifact: that the requests are for.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.store, self.folder = artifact.store, f"{artifact.folder}/{_FOLDER}"
        self.num_rows, self.num_chars = 0, 0
        self.files = list[tuple[str, int]]()
        self.discard()

    def add(self, requests: Sequence[GenerationRequest]) -> None:
        """Write some requests as the next file."""
        if not requests:
            return
        path = f"{self.folder}/{uuid.uuid4().hex}.parquet"
        self.store.write_table(path, GenerationRequest.to_table(requests))
        self.files.append((path, len(requests)))
        self.num_rows += len(requests)
        self.num_chars += sum(len(request.text) for request in requests)

    def blocks(self, num_rows: int) -> Iterator[Block]:
        """Yield where the requests are, in order, so many at a time but for the end of a file."""
        for path, length in self.files:
            for start in range(0, length, num_rows):
                yield Block(path, start, min(start + num_rows, length))

    def discard(self) -> None:
        """Delete the files."""
        self.store.delete(self.folder)


def read_requests(store: Store, path: str) -> list[GenerationRequest]:
    """Return the requests of one file."""
    return GenerationRequest.from_table(store.read_table(path))
