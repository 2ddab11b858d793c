"""Which texts are asked of a teacher: requests with ids and seeds that follow from their content."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence

from kpod_ray.data.prompts import question_text
from kpod_ray.records import GenerationRequest, Question
from kpod_ray.storage.artifacts import Artifact, Store

_ID_DIGITS = 24  # 96 bits: no two ids alike among a billion


def request_id(generation: str, question_id: str, text: str, sample_index: int) -> str:
    """Return the id of one sample: teacher and sampling, question and index determine it.

    Args:
        generation: fingerprint of the teacher and its sampling settings.
        question_id: of the question.
        text: the question as a model reads it.
        sample_index: from 0.
    """
    content = json.dumps([generation, question_id, text, sample_index])
    return hashlib.sha256(content.encode()).hexdigest()[:_ID_DIGITS]


def question_request(question: Question) -> GenerationRequest:
    """Return the request for the greedy text to a question, which is of no teacher."""
    text = question_text(question)
    return GenerationRequest(request_id("", question.id, text, 0), text, 0)


def generation_requests(
    questions: Iterable[Question], sample_indices: Sequence[int], generation: str
) -> Iterator[GenerationRequest]:
    """Yield one request for each of some samples of each question, question by question.

    The seed of a request follows from its id, so that it never depends on what else is asked.
    """
    for question in questions:
        text = question_text(question)
        for index in sample_indices:
            row_id = request_id(generation, question.id, text, index)
            yield GenerationRequest(row_id, text, int(row_id[:8], 16) >> 1)


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
        name = self.store.add_part(self.folder, GenerationRequest.to_table(requests))
        self.files.append((f"{self.folder}/{name}", len(requests)))
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
