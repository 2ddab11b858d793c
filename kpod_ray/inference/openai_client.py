"""A language model behind an endpoint that speaks the OpenAI protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import tenacity
from pydantic import SecretStr

from kpod_ray.config import EndpointTeacher
from kpod_ray.data.prompts import (
    NEXT_QUESTION,
    PromptAffixes,
    Shot,
    messages,
    plain_text,
    shots_for,
)
from kpod_ray.errors import KpodError
from kpod_ray.inference.costs import CHARS_PER_TOKEN
from kpod_ray.inference.openai_responses import (
    UnreadableAnswer,
    error_message,
    paired,
    read_completion,
    read_retry_after,
)
from kpod_ray.inference.rate_limit import Pacing
from kpod_ray.records import Completion, GenerationRequest

CHECK_SECONDS = 10.0
_LONGEST_MESSAGE = 500
_TRANSIENT = {408, 409, 425, 429}
_FATAL = {401, 403, 404}


class _Busy(Exception):
    """The server couldn't answer now; asking again may help."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class _Refused(Exception):
    """The server won't answer this request, however often it is sent."""


class Endpoint:
    """Writes texts by asking a server; a request it refuses becomes a row that says so.

    Args:
        teacher: address, model, sampling and limits.
        shots: worked examples, one more than are put before a question, or none.
        api_key: sent as bearer token, without the white space around it; an empty one isn't. It is in no
            text that this class makes, even where the server repeats it.

    Raises:
        KpodError: The key holds characters that a header can't.
    """

    def __init__(self, teacher: EndpointTeacher, shots: Sequence[Shot], api_key: SecretStr) -> None:
        self.teacher, self.shots = teacher, tuple(shots)
        self.key = api_key.get_secret_value().strip()
        if not (self.key.isascii() and self.key.isprintable()):
            raise KpodError(
                f"environment variable {teacher.api_key_env}: a key has only printable ASCII "
                "characters; set it anew"
            )
        self.headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        self.client: httpx.AsyncClient | None = None
        self.pacing: Pacing | None = None

    async def check(self, patience_s: float = CHECK_SECONDS) -> None:
        """Ask for the list of models, to see that the server is there and takes the key.

        Args:
            patience_s: seconds to wait for an answer.

        Raises:
            KpodError: Nothing answers, the key is refused, or the server is elsewhere.
        """
        url = f"{self._base}/models"
        try:
            async with (
                asyncio.timeout(patience_s),
                httpx.AsyncClient(timeout=None, headers=self.headers) as client,
            ):
                response = await client.get(url)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            reason = self._shown(str(error)) or f"no answer within {patience_s:g} s"
            raise KpodError(
                f"teacher.base_url {self.teacher.base_url}: nothing answers there ({reason}); check the "
                "address and that the server runs"
            ) from None
        if response.status_code in (401, 403) or response.has_redirect_location:
            raise self._fatal(response)

    async def generate(self, request: GenerationRequest) -> Completion:
        """Return the completion of one request, sent again while the server is busy or broken.

        Raises:
            KpodError: No request can succeed: the key, the path or the model is wrong.
        """
        if self.client is None or self.pacing is None:
            self._open()
        body, num_chars = self._body(request)
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_Busy),
            stop=tenacity.stop_after_attempt(self.teacher.max_tries),
            wait=self._wait,
            reraise=True,
        )
        try:
            return await retrying(self._send, request.id, body, num_chars)
        except (_Busy, _Refused) as error:
            return Completion(request.id, self._shown(str(error)), "error", 0)

    async def close(self) -> None:
        """Close the connections."""
        if self.client is not None:
            await self.client.aclose()
            self.client = None

    @property
    def _base(self) -> str:
        return self.teacher.base_url.rstrip("/")

    def _open(self) -> None:
        teacher = self.teacher
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=teacher.max_concurrent
        )
        self.client = httpx.AsyncClient(timeout=None, headers=self.headers, limits=limits)
        self.pacing = Pacing(
            teacher.max_concurrent, teacher.requests_per_minute, teacher.tokens_per_minute
        )

    def _body(self, request: GenerationRequest) -> tuple[dict[str, Any], int]:
        """Return what is posted, and how many characters the prompt has."""
        teacher, shots = self.teacher, shots_for(request.text, self.shots)
        affixes, stop = (
            PromptAffixes(teacher.system_prompt, teacher.instruction),
            list(teacher.stop),
        )
        body: dict[str, Any] = {
            "model": teacher.model,
            "max_tokens": teacher.max_new_tokens,
            "temperature": teacher.temperature,
            "top_p": teacher.top_p,
        }
        if teacher.template == "chat":
            body["messages"] = messages(request.text, shots, affixes)
            num_chars = sum(len(message["content"]) for message in body["messages"])
        else:
            body["prompt"] = plain_text(request.text, shots, affixes)
            num_chars = len(body["prompt"])
            stop.append(NEXT_QUESTION)
        if stop:
            body["stop"] = stop
        if teacher.temperature > 0:
            body["seed"] = request.seed
        return {**body, **teacher.extra_body}, num_chars

    async def _send(self, request_id: str, body: dict[str, Any], num_chars: int) -> Completion:
        assert self.client is not None
        assert self.pacing is not None
        path = "/chat/completions" if self.teacher.template == "chat" else "/completions"
        num_tokens = num_chars // CHARS_PER_TOKEN + self.teacher.max_new_tokens
        async with self.pacing.turn(num_tokens):
            try:
                # Of the whole answer: a server that sends a byte now and then is slow as well.
                async with asyncio.timeout(self.teacher.timeout_s):
                    response = await self.client.post(f"{self._base}{path}", json=body)
            except TimeoutError as error:
                raise _Busy(f"no answer within {self.teacher.timeout_s:g} s") from error
            except httpx.HTTPError as error:
                raise _Busy(f"{type(error).__name__}: {error}") from error
        self._raise_for_status(response)
        try:
            completion = read_completion(request_id, response)
        except UnreadableAnswer as error:
            raise _Busy(str(error)) from error
        if used := completion.num_prompt_tokens + completion.num_tokens:
            self.pacing.used(num_tokens, used)
        return completion

    def _raise_for_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in _FATAL or response.has_redirect_location:
            raise self._fatal(response)
        told = f"HTTP {status}: {error_message(response)}"
        if status in _TRANSIENT or status >= 500:
            retry_after = read_retry_after(response.headers.get("Retry-After"))
            if retry_after and self.pacing is not None:
                self.pacing.pause(retry_after)
            raise _Busy(told, retry_after)
        if not 200 <= status < 300:
            raise _Refused(told)

    def _fatal(self, response: httpx.Response) -> KpodError:
        status, teacher = response.status_code, self.teacher
        if response.has_redirect_location:
            mend = f"set teacher.base_url to where it sends on: {response.headers['Location']}"
        elif status == 404:
            mend = f"check teacher.base_url and teacher.model={teacher.model}: {error_message(response)}"
        elif self.headers:
            mend = f"it refuses the key in {teacher.api_key_env}"
        else:
            mend = f"it wants a key; set the environment variable {teacher.api_key_env}"
        return KpodError(
            f"teacher.base_url {teacher.base_url} answers {status}; {self._shown(mend)}"
        )

    def _shown(self, text: str) -> str:
        """Return a text as one line that may be shown: without the key, and not too long."""
        line = " ".join(paired(text).split())
        return (line.replace(self.key, "***") if self.key else line)[:_LONGEST_MESSAGE]

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Return the seconds before the next try: longer each time, by chance, or as told."""
        backoff = tenacity.wait_random_exponential(multiplier=0.5, max=self.teacher.max_wait_s)
        error = state.outcome.exception() if state.outcome else None
        told = error.retry_after if isinstance(error, _Busy) else None
        return backoff(state) if told is None else told + backoff(state) / 10
