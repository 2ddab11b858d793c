"""Generate only what is missing: completions that a folder holds already are never asked for again."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence

from kpod_ray.inference.completions import CompletionIndex
from kpod_ray.inference.generate import generate
from kpod_ray.inference.requests import Pending
from kpod_ray.inference.service import ServicePool
from kpod_ray.records import GenerationRequest
from kpod_ray.storage.artifacts import Artifact

OnRows = Callable[[int, int], None]
"""Is told how many of the requests have a completion, and how many requests there are."""
StartPool = Callable[[int, int], ServicePool]
"""Makes the pool of services; gets the number of requests and the characters of their texts."""


@dataclasses.dataclass(frozen=True)
class NewCompletions:
    """What was generated because it was missing."""

    num_rows: int
    nodes: frozenset[str]
    """Ids of the nodes that the services were on."""


def generate_missing(
    batches: Iterable[Sequence[GenerationRequest]],
    completions: CompletionIndex,
    artifact: Artifact,
    start_pool: StartPool,
    on_rows: OnRows,
) -> NewCompletions:
    """Generate the completions that an index lacks, or has only as errors, and add them to the index.

    Args:
        batches: the requests, with unique ids; one batch at a time is in memory.
        completions: the index, of the folder that the new completions are written to.
        artifact: the missing requests are kept in its folder while they are under way.
        start_pool: called only when a completion is missing.
        on_rows: called whenever rows are finished; never when no completion is missing.

    Raises:
        KpodError: The service can't be used, or the completions can't be written.
    """
    pending, num_requests = Pending(artifact), 0
    for batch in batches:
        num_requests += len(batch)
        is_there = completions.has([request.id for request in batch])
        pending.add(list(itertools.compress(batch, ~is_there)))
    if not pending.num_rows:
        return NewCompletions(0, frozenset())
    num_done = num_requests - pending.num_rows

    def count(num_rows: int) -> None:
        """Report the progress after some more rows."""
        nonlocal num_done
        num_done += num_rows
        on_rows(num_done, num_requests)

    pool = start_pool(pending.num_rows, pending.num_chars)
    nodes = generate(pending, completions.folder, pool, count)
    pending.discard()
    completions.refresh()
    return NewCompletions(pending.num_rows, nodes)
