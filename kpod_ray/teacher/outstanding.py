"""The requests that a run would still send to its teacher, counted before the run, without Ray."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from kpod_ray.config import EndpointTeacher, VllmTeacher
from kpod_ray.data.prompts import Shot, worked_examples
from kpod_ray.inference.completions import CompletionIndex
from kpod_ray.inference.records import GenerationRequest
from kpod_ray.inference.requests import generation_requests
from kpod_ray.records import Question
from kpod_ray.storage.store import Store
from kpod_ray.teacher.fingerprints import completions_folder, generation_fingerprint
from kpod_ray.teacher.kinds import content_hash


@dataclasses.dataclass(frozen=True)
class Outstanding:
    """The requests of a teacher's first round that have no completion yet."""

    requests: Sequence[GenerationRequest]
    num_there: int
    """Number of the round's requests that an earlier run has completed."""
    shots: Sequence[Shot]
    """Result of `worked_examples`: one more than a prompt has, or none."""


def outstanding(
    teacher: VllmTeacher | EndpointTeacher,
    questions: Sequence[Question],
    seed: int,
    store: Store,
) -> Outstanding:
    """Return the requests of the first round that have no completion in a store, or an error row.

    ``questions`` are the training questions of the run in their order, ``seed`` is its seed. Nothing is
    written to the store, which need not exist.

    Raises:
        KpodError: Too few questions have a worked example, a model folder can't be read, or the folder
            of temporary files is too small for the index.
        OSError: The storage can't be read.
    """
    shots = worked_examples(questions, teacher.num_shots)
    fingerprint = generation_fingerprint(teacher, content_hash(teacher), shots, seed)
    indices = range(teacher.samples.per_question)
    requests = list(generation_requests(questions, indices, fingerprint))
    index = CompletionIndex(store, completions_folder(fingerprint))
    is_there = index.has([request.id for request in requests])
    missing = list(itertools.compress(requests, ~is_there))
    return Outstanding(missing, len(requests) - len(missing), shots)
