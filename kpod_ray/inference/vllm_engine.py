"""A vLLM engine as a service: all requests under way share its batches."""

from __future__ import annotations

import functools
import os
from typing import Any

import psutil

from kpod_ray.cluster.placement import threads_of
from kpod_ray.config import ActorResources
from kpod_ray.data.prompts import NEXT_QUESTION, PromptBuilder
from kpod_ray.inference.service import Sampling, ServicePool
from kpod_ray.models.sources import model_folder
from kpod_ray.models.student import load_tokenizer
from kpod_ray.records import Completion, GenerationRequest

MAX_NUM_SEQS = 256
"""Sequences that vLLM has in one batch at most, unless ``engine.max_num_seqs`` says otherwise."""
LOWEST_PRIORITY = 19


class VllmService:
    """Writes texts with an engine of its own; a request it refuses becomes a row that says so."""

    def __init__(
        self,
        model: str,
        prompt_builder: PromptBuilder,
        sampling: Sampling,
        arguments: dict[str, Any],
    ) -> None:
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        self.tokenizer = load_tokenizer(model)
        self.prompt_builder, self.sampling = prompt_builder, sampling
        self.llm = AsyncLLM.from_engine_args(
            AsyncEngineArgs(model=model_folder(model), **arguments)
        )

    async def generate(self, request: GenerationRequest) -> Completion:
        """Return the completion of one request; ends the process when the engine is dead."""
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        prompt_ids = self.prompt_builder.encode(self.tokenizer, request.text)
        prompt, parameters = {"prompt_token_ids": prompt_ids}, self._sampling_params(request.seed)
        try:
            outputs = [output async for output in self.llm.generate(prompt, parameters, request.id)]
        except EngineDeadError:
            os._exit(1)  # Ray starts the actor again and hands it the rows again
        except (ValueError, EngineGenerateError) as error:  # this request alone can't be done
            return Completion(request.id, str(error), "error", 0, len(prompt_ids))
        completion = outputs[-1].outputs[0]
        return Completion(
            request.id,
            completion.text,
            str(completion.finish_reason),
            len(completion.token_ids),
            len(prompt_ids),
            completion.cumulative_logprob,
        )

    def _sampling_params(self, seed: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = self.sampling
        next_question = [NEXT_QUESTION] if self.prompt_builder.template == "plain" else []
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_new_tokens,
            seed=seed if sampling.temperature > 0 else None,
            stop=[*sampling.stop, *next_question],
            logprobs=0,  # of the tokens written alone: for their sum
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def __del__(self) -> None:
        if hasattr(self, "llm"):
            self.llm.shutdown()


def start_on_cpu(
    model: str, prompt_builder: PromptBuilder, sampling: Sampling, arguments: dict[str, Any]
) -> VllmService:
    """Return a service whose engine leaves the cores to the processes that compute.

    The engine's scheduling process waits for them in a busy loop: at equal priority it takes time
    from them, on a small machine much of it.
    """
    service = VllmService(model, prompt_builder, sampling, arguments)
    for process in psutil.Process().children():
        if "EngineCore" in process.name():
            process.nice(LOWEST_PRIORITY)
    return service


def vllm_pool(
    model: str,
    prompt_builder: PromptBuilder,
    sampling: Sampling,
    arguments: dict[str, Any],
    resources: ActorResources,
) -> ServicePool:
    """Return the pool of engines for one model."""
    on_gpu = resources.num_gpus > 0
    arguments = _gpu_arguments(arguments, resources) if on_gpu else cpu_arguments(arguments)
    start = VllmService if on_gpu else start_on_cpu
    return ServicePool(
        start=functools.partial(start, model, prompt_builder, sampling, arguments),
        resources=resources,
        max_in_flight=2 * arguments.get("max_num_seqs", MAX_NUM_SEQS),
        environment={} if on_gpu else _cpu_environment(resources),
    )


def _gpu_arguments(arguments: dict[str, Any], resources: ActorResources) -> dict[str, Any]:
    """Spread the model over all GPUs of the actor, which are on one node."""
    num_gpus = int(resources.num_gpus)
    if num_gpus <= 1:
        return arguments
    per_stage = num_gpus // arguments.get("pipeline_parallel_size", 1)
    spread = {"tensor_parallel_size": per_stage, "distributed_executor_backend": "mp"}
    return {**spread, **arguments}


def cpu_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Keep clear of the CPU engine's fault: a seeded request crashes it when prefilled in chunks."""
    length = arguments.get("max_model_len", 2048)
    whole = {"max_model_len": length, "max_num_batched_tokens": max(length, 4096)}
    return {**whole, "enable_chunked_prefill": False, **arguments}


def _cpu_environment(resources: ActorResources) -> dict[str, str]:
    return {
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(threads_of(resources)),
        "GOMP_SPINCOUNT": "300000",  # libgomp's default: a millisecond, which no thread sleeps through
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
