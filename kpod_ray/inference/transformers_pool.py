"""Greedy generation with transformers in a pool of actors of Ray Data."""

from __future__ import annotations

import pyarrow as pa

from kpod_ray.cluster.actor_pool import ActorPool
from kpod_ray.config import ActorResources, EvaluationConfig
from kpod_ray.data.prompts import Template
from kpod_ray.inference.records import Completion, GenerationRequest
from kpod_ray.inference.transformers_generator import load_generator


class GeneratorActor:
    """Completes batches of requests greedily with a model that it loads itself; an actor of Ray Data.

    The constructor loads the model by `load_generator`, whose arguments and errors apply.
    """

    def __init__(self, model: str, template: Template, precision: str, max_new_tokens: int) -> None:
        self.generator = load_generator(model, template, precision, max_new_tokens, temperature=0)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return a table of `Completion` rows, in the order of a table of `GenerationRequest` rows.

        The table has at least one row; all rows are generated as one batch. Errors are those of
        `RequestGenerator.complete`.
        """
        requests = GenerationRequest.from_table(batch)
        return Completion.to_table(self.generator.complete(requests, len(requests)))


def generator_pool(
    model: str,
    template: Template,
    precision: str,
    evaluation: EvaluationConfig,
    resources: ActorResources,
) -> ActorPool:
    """Return the description of a pool of `GeneratorActor` for one model; nothing is started or checked.

    ``model`` is the name of a model as in a config, or its folder, which each actor loads on its own
    node; ``precision`` is ``fp32`` or ``bf16``. ``batch_size`` and ``max_new_tokens`` of ``evaluation``
    are used. ``resources`` are the number of actors and the resources of each actor.
    """
    return ActorPool(
        actor=GeneratorActor,
        arguments={
            "model": model,
            "template": template,
            "precision": precision,
            "max_new_tokens": evaluation.max_new_tokens,
        },
        resources=resources,
        batch_size=evaluation.batch_size,
        batch_format="pyarrow",
    )
