"""Generate only missing completions: a completion that exists in the folder is never generated again."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence

from kpod_ray.inference.completions import CompletionIndex
from kpod_ray.inference.generate import generate
from kpod_ray.inference.records import GenerationRequest
from kpod_ray.inference.requests import Pending
from kpod_ray.inference.service import ServicePool
from kpod_ray.storage.artifacts import Artifact

OnRows = Callable[[int, int], None]
"""Callback for progress: the number of requests with a completion, and the number of all requests."""
StartPool = Callable[[int, int], ServicePool]
"""Returns the pool of services for a number of requests and the total characters of their questions."""


@dataclasses.dataclass(frozen=True)
class NewCompletions:
    """What `generate_missing` has generated."""

    num_rows: int
    """Number of new completions, error rows included."""
    nodes: frozenset[str]
    """Ray ids of the nodes that the services ran on; empty if nothing was missing."""


def generate_missing(
    batches: Iterable[Sequence[GenerationRequest]],
    completions: CompletionIndex,
    artifact: Artifact,
    start_pool: StartPool,
    on_rows: OnRows,
) -> NewCompletions:
    """Generate the completions that an index lacks or holds only as error rows; update the index.

    Ray is used, and must be connected, only if a completion is missing. After an error, the completions
    that were finished are in the folder, but not in ``completions``.

    Args:
        batches: the requests, with ids that are unique over all batches; iterated once, one batch at a
            time is in memory.
        completions: index of the folder that the new completions are written to, in the store of
            ``artifact``.
        artifact: artifact whose folder holds the missing requests during generation; they are deleted at
            the end, or by the next call after an error.
        start_pool: called once if a completion is missing, with the number of missing completions and
            the characters of their questions.
        on_rows: called whenever rows are finished, with the number of requests that have a completion by
            then and the number of all requests; never called if no completion is missing.

    Raises:
        KpodError: As in `generate`, ``start_pool`` and `CompletionIndex.refresh`.
        ray.exceptions.RayError: As in `generate`.
    """
    pending = Pending(artifact)
    num_requests = 0
    for batch in batches:
        num_requests += len(batch)
        exists = completions.has([request.id for request in batch])
        pending.add(list(itertools.compress(batch, ~exists)))
    if not pending.num_rows:
        return NewCompletions(0, frozenset())
    num_done = num_requests - pending.num_rows

    def count(num_rows: int) -> None:
        """Report the progress after ``num_rows`` more rows are finished."""
        nonlocal num_done
        num_done += num_rows
        on_rows(num_done, num_requests)

    pool = start_pool(pending.num_rows, pending.num_chars)
    nodes = generate(pending, completions.folder, pool, count)
    pending.discard()
    completions.refresh()
    return NewCompletions(pending.num_rows, nodes)
