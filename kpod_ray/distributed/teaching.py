"""From the settings of a generating teacher to the pool of services that answers."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os

from pydantic import SecretStr

from kpod_ray.artifacts import Artifact
from kpod_ray.config import EndpointTeacher, GeneratingTeacher, RunConfig, VllmTeacher
from kpod_ray.data.costs import estimate
from kpod_ray.data.prompts import Frame, Prompting, Shot, worked_examples
from kpod_ray.data.requests import generation_fingerprint
from kpod_ray.distributed.asking import OnRows, Teaching, training_batches
from kpod_ray.distributed.engine import Sampling, vllm_pool
from kpod_ray.distributed.generation import ServicePool
from kpod_ray.errors import KpodError
from kpod_ray.models.endpoint import Endpoint
from kpod_ray.models.folders import model_hash


def teaching_of(
    config: RunConfig,
    teacher: GeneratingTeacher,
    questions: Artifact,
    artifact: Artifact,
    on_rows: OnRows,
) -> Teaching:
    """Return whom to ask, and where the answers are kept.

    Raises:
        KpodError: There are too few worked examples.
    """
    shots = _shots(teacher, questions)
    known = model_hash(teacher.model) if isinstance(teacher, VllmTeacher) else ""
    return Teaching(
        teacher,
        generation_fingerprint(teacher, known, shots, config.seed),
        functools.partial(_pool, config, teacher, shots),
        artifact,
        on_rows,
    )


def _shots(teacher: GeneratingTeacher, questions: Artifact) -> list[Shot]:
    in_order = itertools.chain.from_iterable(training_batches(questions))
    return worked_examples(in_order, teacher.num_shots)


def _pool(
    config: RunConfig,
    teacher: GeneratingTeacher,
    shots: list[Shot],
    num_requests: int,
    num_question_chars: int,
) -> ServicePool:
    """Return the pool that answers so many requests.

    Raises:
        KpodError: The endpoint doesn't answer or could cost too much.
    """
    resources = config.resources.teacher
    if isinstance(teacher, EndpointTeacher):
        expected = estimate(teacher, shots, num_requests, num_question_chars)
        if teacher.max_cost is not None and expected.largest > teacher.max_cost:
            raise KpodError(
                f"teacher.max_cost={teacher.max_cost:g}: {expected}; ask for fewer or shorter "
                "samples, or raise it"
            )
        key = SecretStr(os.environ.get(teacher.api_key_variable, ""))
        start = functools.partial(Endpoint, teacher, shots, key)
        asyncio.run(start().check())
        alone = resources.model_copy(update={"num_actors": 1, "max_actors": None})
        return ServicePool(start, alone, 2 * teacher.max_concurrent)
    assert isinstance(teacher, VllmTeacher)
    sampling = Sampling(teacher.temperature, teacher.top_p, teacher.max_new_tokens, teacher.stop)
    frame = Frame(teacher.system, teacher.instruction)
    prompting = Prompting(teacher.template, tuple(shots), frame)
    return vllm_pool(teacher.model, prompting, sampling, dict(teacher.engine), resources)
