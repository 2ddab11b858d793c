"""A vLLM engine as a service, on GPUs or on CPU cores; concurrent requests share the engine's batches.

vLLM is imported inside the functions, because only the actors with an engine need vLLM.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from typing import Any, NoReturn

from kpod_ray.cluster.placement import threads_of
from kpod_ray.config import ActorResources
from kpod_ray.data.prompts import NEXT_QUESTION, PromptBuilder
from kpod_ray.inference.engine_in_process import InProcessEngine
from kpod_ray.inference.engine_processes import EngineProcesses
from kpod_ray.inference.records import Completion, GenerationRequest
from kpod_ray.inference.service import Sampling, ServicePool
from kpod_ray.models.custom_code import is_trusted
from kpod_ray.models.sources import MODEL_CACHE, model_folder
from kpod_ray.models.student import load_tokenizer
from kpod_ray.storage.scratch import make_folder, noting_shared_memory

MAX_NUM_SEQS = 256
"""Largest number of sequences in a batch of vLLM, unless ``engine_kwargs.max_num_seqs`` is set."""
COMPILED = MODEL_CACHE.parent / "torchinductor"
"""Local folder of what torch compiles for the engines; torch would take a folder in /tmp."""


class VllmService:
    """A `Service` with its own vLLM engine; a request that vLLM refuses becomes an error row.

    The constructor blocks until the engine has loaded the model; the engine ends when the instance is
    garbage-collected.

    Args:
        start_engine: starts the engine from vLLM's arguments: `InProcessEngine` on CPU cores, in a
            process with the environment variables of `vllm_pool`; `EngineProcesses` on GPUs.
        model: name of a causal model as in a config, or its folder.
        prompt_builder: builds the prompts; with the template ``plain``, a text also ends before the next
            question.
        arguments: further arguments of ``AsyncEngineArgs``.

    Raises:
        KpodError: As in `load_tokenizer`.
        OSError: As in `load_tokenizer`.
        ValueError: As in `load_tokenizer`, or vLLM refuses the model or the value of an argument.
        TypeError: vLLM has no argument of a name in ``arguments``.
        Exception: ``start_engine`` raises it.
    """

    def __init__(
        self,
        start_engine: Callable[[Any], InProcessEngine | EngineProcesses],
        model: str,
        prompt_builder: PromptBuilder,
        sampling: Sampling,
        arguments: dict[str, Any],
    ) -> None:
        from vllm import AsyncEngineArgs

        self.tokenizer = load_tokenizer(model)
        self.prompt_builder = prompt_builder
        self.sampling = sampling
        self.folder = make_folder()
        os.environ["VLLM_RPC_BASE_PATH"] = str(self.folder)  # of the engine's sockets
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(COMPILED))
        engine_arguments = AsyncEngineArgs(
            model=model_folder(model), trust_remote_code=is_trusted(model), **arguments
        )
        with noting_shared_memory(self.folder):
            self.engine = start_engine(engine_arguments)

    async def generate(self, request: GenerationRequest) -> Completion:
        """Return the completion of one request; exit the process if the engine is dead.

        The completion has the log-probability of the generated tokens. A request that vLLM refuses, such
        as a prompt of more tokens than ``max_model_len``, becomes an error row. At temperature 0 the
        seed has no effect. Calls in flight at the same time share one event loop and have different
        request ids.

        Raises:
            KpodError: As in `encode_prompt`.
        """
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        prompt_ids = self.prompt_builder.encode(self.tokenizer, request.text)
        parameters = self._sampling_params(request.seed)
        try:
            completion = await self.engine.complete(prompt_ids, parameters, request.id)
        except EngineDeadError:
            _exit_for_restart()
        except (VLLMClientError, ValueError, EngineGenerateError) as error:
            # only this request fails
            return Completion(request.id, str(error), "error", 0, len(prompt_ids))
        if completion.finish_reason == "abort":  # by an engine that got SIGTERM or SIGINT
            _exit_for_restart()
        return Completion(
            request.id,
            completion.text,
            str(completion.finish_reason),
            len(completion.token_ids),
            len(prompt_ids),
            completion.cumulative_logprob,
        )

    def _sampling_params(self, seed: int) -> Any:
        """Return vLLM's sampling parameters for a request with this seed."""
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
            logprobs=0,  # only of the generated tokens; vLLM sums them to cumulative_logprob
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def __del__(self) -> None:
        if hasattr(self, "engine"):
            self.engine.shutdown()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder, ignore_errors=True)


def _exit_for_restart() -> NoReturn:
    """Exit the process, so that Ray restarts the actor and repeats its calls; an exception would not."""
    os._exit(1)


def vllm_pool(
    model: str,
    prompt_builder: PromptBuilder,
    sampling: Sampling,
    arguments: dict[str, Any],
    resources: ActorResources,
) -> ServicePool:
    """Return the description of a pool of vLLM engines for one model; nothing is started or checked.

    The errors of `VllmService` are raised when the pool runs. Twice ``max_num_seqs`` (default
    `MAX_NUM_SEQS`) requests are given to an engine at the same time.

    Args:
        model: name of a causal model as in a config, or its folder; loaded on the node of each actor.
        prompt_builder: builds the prompts.
        sampling: settings of sampling.
        arguments: further arguments of ``AsyncEngineArgs``, from ``engine_kwargs``. They take precedence
            over the defaults: on several GPUs tensor parallelism over all GPUs of an actor, without a
            GPU those of `cpu_arguments`.
        resources: number of actors and the resources of each actor; the engines run on GPUs if
            ``num_gpus`` is over 0.
    """
    on_gpu = resources.num_gpus > 0
    arguments = _gpu_arguments(arguments, resources) if on_gpu else cpu_arguments(arguments)
    engine = EngineProcesses if on_gpu else InProcessEngine
    return ServicePool(
        start=functools.partial(VllmService, engine, model, prompt_builder, sampling, arguments),
        resources=resources,
        # Half of the requests wait in the engine, so that its batches stay full.
        max_in_flight=2 * arguments.get("max_num_seqs", MAX_NUM_SEQS),
        environment={} if on_gpu else _cpu_environment(resources),
    )


def _gpu_arguments(arguments: dict[str, Any], resources: ActorResources) -> dict[str, Any]:
    """Return engine arguments that distribute the model over all GPUs of an actor, on one node.

    The ``arguments`` of the user take precedence.
    """
    num_gpus = int(resources.num_gpus)
    if num_gpus <= 1:
        return arguments
    per_stage = num_gpus // arguments.get("pipeline_parallel_size", 1)
    spread = {"tensor_parallel_size": per_stage, "distributed_executor_backend": "mp"}
    return {**spread, **arguments}


def cpu_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of engine arguments with the defaults for the CPU; given arguments take precedence.

    The arguments are those of ``AsyncEngineArgs`` by name. The defaults are ``max_model_len=2048``,
    ``enable_chunked_prefill=False``, because the CPU engine crashes when a request with a seed is
    prefilled in chunks, and as ``max_num_batched_tokens`` the larger of ``max_model_len`` and 4096,
    because without chunks a batch must have room for the longest prompt.
    """
    length = arguments.get("max_model_len", 2048)
    whole_prompts = {"max_model_len": length, "max_num_batched_tokens": max(length, 4096)}
    return {**whole_prompts, "enable_chunked_prefill": False, **arguments}


def _cpu_environment(resources: ActorResources) -> dict[str, str]:
    """Return the environment variables of an actor with a CPU engine."""
    return {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # see `InProcessEngine`
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",  # vLLM would leave one core unused
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # threads aren't pinned to cores
        "OMP_NUM_THREADS": str(threads_of(resources)),
        # `cluster.connection` sets OMP_WAIT_POLICY=PASSIVE, with which idle threads sleep at once.
        # Between the engine's operators idle threads should spin, as by default: about a millisecond.
        "GOMP_SPINCOUNT": "300000",
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
