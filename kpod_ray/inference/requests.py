"""Generation requests, and the files that hold the requests during generation.

The id of a request is a hash of everything that determines its completion, and the seed follows from the
id. Completions can therefore be reused by any run that makes the same request.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence

from kpod_ray.data.prompts import question_text
from kpod_ray.inference.records import GenerationRequest
from kpod_ray.records import Question
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store

_ID_DIGITS = 24  # 96 bits: the probability of a collision among a billion ids is below 1e-11
_FOLDER = "pending"
"""Folder of the pending requests inside the folder of an artifact."""


def request_id(generation: str, question_id: str, text: str, sample_index: int) -> str:
    """Return the id of the request for one sample: a hash of all arguments, 24 hex digits.

    ``generation`` is the fingerprint of the teacher and its sampling settings
    (`generation_fingerprint`), ``text`` the question as a model reads it (`question_text`), and
    ``sample_index`` the number of the sample among the samples of the question, from 0.
    """
    content = json.dumps([generation, question_id, text, sample_index])
    return hashlib.sha256(content.encode()).hexdigest()[:_ID_DIGITS]


def question_request(question: Question) -> GenerationRequest:
    """Return the request for the greedy answer of the evaluated model to a question, with seed 0.

    The id is `request_id` of the question's id and text (`question_text`) alone, because the answers are
    stored with the artifact of one model.
    """
    text = question_text(question)
    return GenerationRequest(request_id("", question.id, text, 0), text, 0)


def generation_requests(
    questions: Iterable[Question], sample_indices: Sequence[int], generation: str
) -> Iterator[GenerationRequest]:
    """Yield one request for each sample index of each question, question by question.

    The indices count from 0. ``generation`` is the fingerprint of the teacher and its sampling settings,
    from `generation_fingerprint`. The seed of a request, in [0, 2^31), follows from its id
    (`request_id`), so that the seed doesn't depend on other requests.
    """
    for question in questions:
        text = question_text(question)
        for index in sample_indices:
            row_id = request_id(generation, question.id, text, index)
            yield GenerationRequest(row_id, text, int(row_id[:8], 16) >> 1)  # seed below 2^31


@dataclasses.dataclass(frozen=True)
class Block:
    """Position of a block of requests: rows ``[start, end)`` of a file."""

    path: str
    """Relative to the store's root."""
    start: int
    end: int


class Pending:
    """The pending requests of one artifact, in files of its subfolder ``pending``.

    The constructor deletes the files that an earlier instance for the same artifact left behind, so one
    artifact has one instance at a time. ``num_rows`` is the number of requests added so far,
    ``num_chars`` the characters of their texts.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.store = artifact.store
        self.folder = f"{artifact.folder}/{_FOLDER}"
        self.num_rows = 0
        self.num_chars = 0
        self.files = list[tuple[str, int]]()
        """Path and number of requests of each file."""
        self.discard()

    def add(self, requests: Sequence[GenerationRequest]) -> None:
        """Write requests, after those added before, as one new file; no file for an empty sequence."""
        if not requests:
            return
        name = self.store.add_part(self.folder, GenerationRequest.to_table(requests))
        self.files.append((f"{self.folder}/{name}", len(requests)))
        self.num_rows += len(requests)
        self.num_chars += sum(len(request.text) for request in requests)

    def blocks(self, num_rows: int) -> Iterator[Block]:
        """Yield the positions of all requests added so far, in order, ``num_rows`` in a block.

        A block lies in one file; the last block of each file may have fewer requests.
        """
        for path, length in self.files:
            for start in range(0, length, num_rows):
                yield Block(path, start, min(start + num_rows, length))

    def discard(self) -> None:
        """Delete the files of all requests; call it once the requests aren't read any more.

        The counts stay, and `blocks` still yields the positions in the deleted files.
        """
        self.store.delete(self.folder)


def read_requests(store: Store, path: str) -> list[GenerationRequest]:
    """Return all requests of one file of `Pending`, in their order.

    ``path`` is relative to the store's root, as in `Block.path`.

    Raises:
        FileNotFoundError: The file doesn't exist, or `Pending.discard` has deleted the file.
    """
    return GenerationRequest.from_table(store.read_table(path))
