"""Pools of services that generate a teacher's samples.

The services are vLLM engines of this cluster, or one client of an OpenAI-compatible endpoint.
"""

from __future__ import annotations

import asyncio
import functools
import itertools

from kpod_ray.config import (
    ActorResources,
    EndpointTeacher,
    RunConfig,
    VllmTeacher,
)
from kpod_ray.data.prompts import Shot, worked_examples
from kpod_ray.errors import KpodError
from kpod_ray.inference.endpoint import costs
from kpod_ray.inference.endpoint.key import endpoint_key
from kpod_ray.inference.endpoint.openai_client import Endpoint
from kpod_ray.inference.missing import OnRows
from kpod_ray.inference.service import Sampling, ServicePool
from kpod_ray.inference.vllm_engine import vllm_pool
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.teacher.fingerprints import generation_fingerprint
from kpod_ray.teacher.kinds import content_hash, prompt_builder
from kpod_ray.teacher.sampling import SamplingPlan, training_batches


def sampling_plan(
    config: RunConfig,
    teacher: VllmTeacher | EndpointTeacher,
    questions: Artifact,
    artifact: Artifact,
    on_rows: OnRows,
) -> SamplingPlan:
    """Return the sampling plan of a generating teacher; no model and no client is started.

    For an endpoint, the plan's ``start_pool`` reads the key from the environment variable and calls the
    endpoint by ``asyncio.run``, which fails inside a running event loop. ``start_pool`` raises a
    `KpodError` if the requests could cost more than ``max_cost``, the key can't be part of an HTTP
    header or may not go there (`endpoint_key`), or `Endpoint.check` fails.

    ``teacher`` is ``config.teacher``; ``artifact`` and ``on_rows`` are fields of `SamplingPlan`.
    ``questions`` is the finished artifact of phase ``questions``, whose first training questions with a
    reference rationale become the worked examples of the prompt.

    Raises:
        KpodError: ``num_shots`` isn't 0, and fewer than ``num_shots + 1`` training questions have a
            reference rationale; or as in `content_hash`.
        KpodError: ``num_shots`` isn't 0, and the table of the questions can't be read.
    """
    in_order = itertools.chain.from_iterable(training_batches(questions))
    shots = worked_examples(in_order, teacher.num_shots)
    return SamplingPlan(
        teacher,
        generation_fingerprint(teacher, content_hash(teacher), shots, config.seed),
        functools.partial(_start_pool, teacher, shots, config.resources.teacher),
        artifact,
        on_rows,
    )


def _start_pool(
    teacher: VllmTeacher | EndpointTeacher,
    shots: list[Shot],
    resources: ActorResources,
    num_requests: int,
    num_question_chars: int,
) -> ServicePool:
    """Return the pool of services of a teacher for requests of a known number and length."""
    match teacher:
        case VllmTeacher():
            return _engines(teacher, shots, resources)
        case EndpointTeacher():
            expected = costs.estimate(teacher, shots, num_requests, num_question_chars)
            return _clients(teacher, shots, resources, expected)


def _engines(teacher: VllmTeacher, shots: list[Shot], resources: ActorResources) -> ServicePool:
    """Return a pool of vLLM engines with the teacher's model."""
    sampling = Sampling(teacher.temperature, teacher.top_p, teacher.max_new_tokens, teacher.stop)
    arguments = dict(teacher.engine_kwargs)
    return vllm_pool(teacher.model, prompt_builder(teacher, shots), sampling, arguments, resources)


def _clients(
    teacher: EndpointTeacher,
    shots: list[Shot],
    resources: ActorResources,
    expected: costs.CostEstimate,
) -> ServicePool:
    """Return a pool of one endpoint client, after a check of the endpoint and of the cost limit."""
    if teacher.max_cost is not None and expected.largest > teacher.max_cost:
        raise KpodError(
            f"teacher.max_cost={teacher.max_cost:g}: {expected}; ask for fewer or shorter "
            "samples, or raise it"
        )
    start = functools.partial(Endpoint, teacher, shots, endpoint_key(teacher))
    asyncio.run(start().check())
    # Each client enforces the rate limits for itself, so a second client would double the rates.
    one_actor = resources.model_copy(update={"num_actors": 1, "max_actors": None})
    # Twice as many requests as may be sent keep the client busy while a block of requests ends.
    return ServicePool(start, one_actor, 2 * teacher.max_concurrent)
