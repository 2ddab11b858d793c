"""A vLLM engine in processes of its own, for GPUs.

vLLM is imported inside the functions, because only the actors with an engine need vLLM.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from kpod_ray.errors import KpodError
from kpod_ray.inference.engine_in_process import MOST_CHARACTERS

ALIVE_SECONDS = 5.0
"""Seconds between two looks whether the engine of a request is alive."""


class EngineProcesses:
    """vLLM's asynchronous engine: one process schedules, and one computes for each GPU.

    While the GPUs compute, this process prepares prompts and reads texts. The processes end with
    `shutdown`.

    Args:
        arguments: vLLM's ``AsyncEngineArgs``.

    Raises:
        ValueError: vLLM refuses the model or the value of an argument.
        KpodError: The engine's processes ended while they started, twice, for example for lack of
            memory; the message has their last error.
    """

    def __init__(self, arguments: Any) -> None:
        from vllm.v1.engine.async_llm import AsyncLLM

        with contextlib.suppress(RuntimeError):  # perhaps a process was killed
            self.llm = AsyncLLM.from_engine_args(arguments)
            return
        try:
            self.llm = AsyncLLM.from_engine_args(arguments)
        except RuntimeError as error:
            raise KpodError(
                f"vLLM's engine for {arguments.model} ended twice while it started: "
                f"{_last_error() or 'no error is known'}; if the memory is short, lower "
                "engine_kwargs.max_model_len"
            ) from error

    async def complete(self, prompt_ids: Sequence[int], parameters: Any, request_id: str) -> Any:
        """Return vLLM's ``CompletionOutput`` of a prompt.

        Arguments and errors are those of `InProcessEngine.complete`. If the engine's processes end
        without an answer, `EngineDeadError` is raised.
        """
        from vllm.v1.engine.exceptions import EngineDeadError

        renderer = self.llm.renderer
        (prompt,) = await renderer.render_cmpl_async([{"prompt_token_ids": list(prompt_ids)}])
        last = asyncio.ensure_future(_last(self.llm.generate(prompt, parameters, request_id)))
        try:
            # An engine that got a signal while it started ends once it has started, and vLLM leaves the
            # requests that it got meanwhile waiting.
            while not (await asyncio.wait({last}, timeout=ALIVE_SECONDS))[0]:
                if self.llm.errored:
                    raise EngineDeadError
            return (await last).outputs[0]
        finally:
            last.cancel()

    def shutdown(self) -> None:
        """End the engine's processes."""
        self.llm.shutdown()


async def _last(items: AsyncIterator[Any]) -> Any:
    """Return the last of at least one item."""
    async for item in items:
        last = item
    return last


def _last_error() -> str:
    """Return the last line with an error in this process's log, which the engine's processes share."""
    log = Path("/proc/self/fd/2")
    if not log.is_file():  # a terminal or a pipe
        return ""
    lines = re.findall(r"\b\w+(?:Error|Exception): .+", log.read_text(errors="replace"))
    # The last errors are those of the waiting process, which refers to the cause.
    causes = [line for line in lines if "Engine core initialization failed" not in line]
    return causes[-1][:MOST_CHARACTERS].rstrip(". ") if causes else ""
