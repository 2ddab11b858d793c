"""A vLLM engine in the process that uses it, for models that one process can compute.

vLLM is imported inside the functions, because only the actors with an engine need vLLM.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import queue
import threading
from collections.abc import Sequence
from typing import Any

from kpod_ray.errors import KpodError

MOST_CHARACTERS = 300
"""Length to which the message of an engine's error is cut."""


@dataclasses.dataclass(frozen=True)
class _Request:
    """A request that the engine's thread has not seen yet."""

    id: str
    prompt_ids: Sequence[int]
    parameters: Any
    """vLLM's ``SamplingParams``."""
    answer: concurrent.futures.Future[Any]


class InProcessEngine:
    """A vLLM engine whose steps are computed by a thread of this process.

    vLLM's own asynchronous engine (`EngineProcesses`) schedules and computes in two further processes,
    each of which imports vLLM again: three times the start and the memory. The environment variable
    VLLM_ENABLE_V1_MULTIPROCESSING must be 0, else vLLM starts these processes here, too.

    Args:
        arguments: vLLM's ``EngineArgs``.

    Raises:
        KpodError: vLLM can't start the engine: it refuses the model or the value of an argument, or the
            memory is short.
    """

    def __init__(self, arguments: Any) -> None:
        from vllm.v1.engine.llm_engine import LLMEngine

        try:
            self.engine = LLMEngine.from_engine_args(arguments)
        except Exception as error:  # vLLM and the model raise all sorts
            raise KpodError(
                f"vLLM can't start an engine for {arguments.model}: {_one_line(error)}; change "
                "engine_kwargs, such as a lower max_model_len if the memory is short"
            ) from error
        self.requests = queue.SimpleQueue[_Request | None]()
        self.waiting: dict[str, concurrent.futures.Future[Any]] = {}
        self.is_dead = False
        self.thread = threading.Thread(target=self._run, name="kpod-engine", daemon=True)
        self.thread.start()

    async def complete(self, prompt_ids: Sequence[int], parameters: Any, request_id: str) -> Any:
        """Return vLLM's ``CompletionOutput`` of a prompt.

        Args:
            prompt_ids: the tokens of the prompt.
            parameters: vLLM's ``SamplingParams`` with the output kind ``FINAL_ONLY``.
            request_id: id that no other request in flight has.

        Raises:
            vllm.exceptions.VLLMClientError: vLLM refuses the request.
            ValueError: vLLM refuses the request.
            vllm.v1.engine.exceptions.EngineDeadError: A step of the engine failed, now or earlier, or
                the engine was shut down.
        """
        answer = concurrent.futures.Future[Any]()
        self.requests.put(_Request(request_id, prompt_ids, parameters, answer))
        if self.is_dead:  # perhaps the thread looked for requests before this one came
            self._refuse_all()
        return await asyncio.wrap_future(answer)

    def shutdown(self) -> None:
        """End the thread after its current step, and wait for its end.

        Requests in flight end with `EngineDeadError`.
        """
        self.requests.put(None)
        self.thread.join()

    def _run(self) -> None:
        """Compute steps until the engine is shut down or a step fails, whose error Python prints."""
        try:
            while self._admit():
                for output in self.engine.step():
                    if output.finished:
                        self.waiting.pop(output.request_id).set_result(output.outputs[0])
        finally:
            self.is_dead = True
            self._refuse_all()

    def _admit(self) -> bool:
        """Give the engine all new requests; wait for one if it has none. False: the engine shall end."""
        while not self.waiting or not self.requests.empty():
            request = self.requests.get()
            if request is None:
                return False
            if request.answer.set_running_or_notify_cancel():
                self._add(request)
        return True

    def _add(self, request: _Request) -> None:
        from vllm.exceptions import VLLMClientError

        self.waiting[request.id] = request.answer
        try:
            prompts = [{"prompt_token_ids": list(request.prompt_ids)}]
            (prompt,) = self.engine.renderer.render_cmpl(prompts)
            self.engine.add_request(request.id, prompt, request.parameters)
        except (VLLMClientError, ValueError) as error:
            self.waiting.pop(request.id).set_exception(error)

    def _refuse_all(self) -> None:
        """Answer every request with the error that the engine is dead."""
        from vllm.v1.engine.exceptions import EngineDeadError

        answers = list(self.waiting.values())
        self.waiting.clear()
        with contextlib.suppress(queue.Empty):
            while True:
                request = self.requests.get_nowait()
                if request is not None and request.answer.set_running_or_notify_cancel():
                    answers.append(request.answer)
        for answer in answers:
            answer.set_exception(EngineDeadError())


def _one_line(error: Exception) -> str:
    """Return the type and the message of an error in one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text[:MOST_CHARACTERS].rstrip(". ")
