"""Generate a completion for every request, each exactly once, however often something dies.

Ray Data streams blocks of requests through a pool of actors, each with a service: a vLLM engine or
a client of an endpoint. What streams is where the blocks are: the actor reads them. Many are under
way at once, so that the engine stays full while a block waits for its longest row. Finished rows are
written by the actor itself, soon after they finish and whatever else is under way; a later call does
only the rows that no file holds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

from kpod_ray.config import ActorResources
from kpod_ray.records import Completion, GenerationRequest


class Service(Protocol):
    """What writes a text to a request; one request that can't be done is a row that says so."""

    async def generate(self, request: GenerationRequest) -> Completion:
        """Return the completion of one request. Many calls run at the same time."""


@dataclasses.dataclass(frozen=True)
class ServicePool:
    """Which service answers, how often, and where."""

    start: Callable[[], Service]
    """Makes a service inside an actor's process."""
    resources: ActorResources
    max_in_flight: int
    """Requests that one service should have at the same time."""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    """Environment variables of the actors' processes."""


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How texts are sampled."""

    temperature: float
    top_p: float
    max_new_tokens: int
    stop: tuple[str, ...] = ()
