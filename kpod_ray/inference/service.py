"""The interface of a text generation service, and the settings of a pool of services.

`vllm_engine.VllmService` and `openai_client.Endpoint` implement `Service`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

from kpod_ray.config import ActorResources
from kpod_ray.inference.records import Completion, GenerationRequest


class Service(Protocol):
    """Generates texts; a request that fails for good becomes an error row, not an exception."""

    async def generate(self, request: GenerationRequest) -> Completion:
        """Return the completion of one request; the completion's ``id`` is the request's ``id``.

        Many calls run concurrently, all in the same event loop, with different ids. A service whose
        engine is dead exits its process and raises nothing, so that Ray restarts the actor.

        Raises:
            KpodError: No request can succeed; the run ends.
        """


@dataclasses.dataclass(frozen=True)
class ServicePool:
    """A service to run in a pool of actors, with the resources of the actors."""

    start: Callable[[], Service]
    """Starts a service; pickled, and called once in the process of each actor, again after a restart."""
    resources: ActorResources
    """Number of actors and the resources of each actor."""
    max_in_flight: int
    """Largest number of requests that one service gets at the same time. A block with more requests
    (``resources.rows_per_block``) is given to the service whole, without other requests."""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    """Environment variables of the actors' processes."""


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Settings of sampling from a model."""

    temperature: float
    """Temperature of the softmax; 0 is greedy decoding."""
    top_p: float
    """Nucleus sampling: tokens are drawn from the smallest set with this total probability."""
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    """Texts that end the generation; the generated text doesn't contain them."""
