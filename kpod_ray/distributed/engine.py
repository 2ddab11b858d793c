"""A vLLM engine as an actor of Ray Data: rows come out as they finish, not batch by batch."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from kpod_ray.config import ActorResources
from kpod_ray.data.prompts import NEXT_QUESTION, Shot, Template, encode_prompt
from kpod_ray.distributed.cluster import threads_of
from kpod_ray.distributed.streaming import ActorPool
from kpod_ray.models.folders import MODEL_CACHE, model_folder
from kpod_ray.models.student import load_tokenizer

BATCH_SIZE = 16
MAX_CONCURRENT_CALLS = 4


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How texts are sampled."""

    temperature: float
    top_p: float
    max_new_tokens: int


class VllmEngine:
    """Generates a text for each request; a failed request becomes a row that says so."""

    def __init__(
        self,
        model: str,
        template: Template,
        shots: list[Shot],
        sampling: Sampling,
        arguments: dict[str, Any],
    ) -> None:
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        folder = model_folder(model, MODEL_CACHE)
        self.tokenizer = load_tokenizer(folder)
        self.template, self.shots, self.sampling = template, shots, sampling
        self.llm = AsyncLLM.from_engine_args(AsyncEngineArgs(model=folder, **arguments))

    async def __call__(self, batch: dict[str, np.ndarray]) -> AsyncIterator[dict[str, list[Any]]]:
        """Yield one row as each request of the batch finishes."""
        rows = zip(batch["id"], batch["text"], batch["seed"], strict=True)
        tasks = [self._generate(str(i), str(text), int(seed)) for i, text, seed in rows]
        for finished in asyncio.as_completed(tasks):
            yield {name: [value] for name, value in (await finished).items()}

    async def _generate(self, request_id: str, text: str, seed: int) -> dict[str, Any]:
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        shots = [shot for shot in self.shots if shot[0] != text][: max(0, len(self.shots) - 1)]
        prompt = {"prompt_token_ids": encode_prompt(self.tokenizer, text, self.template, shots)}
        parameters = self._sampling_params(seed)
        try:
            outputs = [output async for output in self.llm.generate(prompt, parameters, request_id)]
        except EngineDeadError:
            os._exit(1)  # Ray starts the actor again and hands it the rows again
        except (ValueError, EngineGenerateError) as error:  # this request alone can't be done
            return _row(request_id, str(error), "error", 0)
        completion = outputs[-1].outputs[0]
        return _row(
            request_id, completion.text, str(completion.finish_reason), len(completion.token_ids)
        )

    def _sampling_params(self, seed: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            max_tokens=self.sampling.max_new_tokens,
            seed=seed if self.sampling.temperature > 0 else None,
            stop=[NEXT_QUESTION] if self.template == "plain" else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def __del__(self) -> None:
        if hasattr(self, "llm"):
            self.llm.shutdown()


def engine_pool(
    model: str,
    template: Template,
    shots: list[Shot],
    sampling: Sampling,
    arguments: dict[str, Any],
    resources: ActorResources,
) -> ActorPool:
    """Return the pool of engines for one model."""
    if resources.num_gpus == 0:
        arguments = _cpu_arguments(arguments)
    elif resources.num_gpus > 1:
        arguments = {"tensor_parallel_size": int(resources.num_gpus), **arguments}
    return ActorPool(
        actor=VllmEngine,
        arguments={
            "model": model,
            "template": template,
            "shots": shots,
            "sampling": sampling,
            "arguments": arguments,
        },
        resources=resources,
        batch_size=BATCH_SIZE,
        max_concurrent_calls=MAX_CONCURRENT_CALLS,
        environment=_cpu_environment(resources) if resources.num_gpus == 0 else {},
    )


def _cpu_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Keep clear of the CPU engine's fault: a seeded request crashes it when prefilled in chunks."""
    length = arguments.get("max_model_len", 2048)
    whole = {"max_model_len": length, "max_num_batched_tokens": max(length, 4096)}
    return {**whole, "enable_chunked_prefill": False, **arguments}


def _cpu_environment(resources: ActorResources) -> dict[str, str]:
    return {
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(threads_of(resources)),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }


def _row(request_id: str, text: str, finish_reason: str, num_tokens: int) -> dict[str, Any]:
    return {
        "id": request_id,
        "text": text,
        "finish_reason": finish_reason,
        "num_tokens": num_tokens,
    }
