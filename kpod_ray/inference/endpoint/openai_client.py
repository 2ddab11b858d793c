"""Client of an OpenAI-compatible endpoint: requests, retries, rate limits and error messages.

Transient failures (`_Busy`) are retried with backoff. Failures of one request (`_Refused`) become an
error row. Failures that every request would meet, such as a wrong key, end the run with a `KpodError`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import urllib.parse
from collections.abc import Sequence
from typing import Any

import httpx
import tenacity
from pydantic import SecretStr

from kpod_ray.config import EndpointTeacher
from kpod_ray.data.prompts import Shot
from kpod_ray.errors import KpodError
from kpod_ray.inference.endpoint.costs import CHARS_PER_TOKEN
from kpod_ray.inference.endpoint.key import is_loopback, key_variable
from kpod_ray.inference.endpoint.openai_requests import request_body, request_path
from kpod_ray.inference.endpoint.openai_responses import (
    UnreadableAnswer,
    error_message,
    paired,
    read_completion,
    read_retry_after,
)
from kpod_ray.inference.endpoint.rate_limit import Pacing
from kpod_ray.inference.records import Completion, GenerationRequest

CHECK_SECONDS = 10.0
"""Seconds that `Endpoint.check` waits for an answer."""
_LONGEST_MESSAGE = 500
"""Largest number of characters of a server's message that an error message repeats."""
_TRANSIENT = {408, 409, 425, 429}
"""HTTP status codes, beside 5xx, after which the request is retried."""
_FATAL = {401, 403, 404}
"""HTTP status codes that every request would get: a wrong key, path or model."""


class _Busy(Exception):
    """A transient failure; a retry of the request may succeed.

    ``retry_after`` are the seconds that the server asks the client to wait; None if the server doesn't
    say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class _Refused(Exception):
    """A permanent failure of one request; a retry would fail, too."""


class Endpoint:
    """A `Service` that sends each request to a server; a refused request becomes an error row.

    The constructor uses no network. All calls of `generate` and `close` are made in one event loop.

    Args:
        teacher: the endpoint's address, model, sampling and limits.
        shots: result of `worked_examples`: one more than a prompt contains, or none.
        api_key: bearer token; white space around the key is dropped, and an empty key isn't sent. The
            key is removed from all messages.

    Raises:
        KpodError: The key contains characters that an HTTP header can't contain.
    """

    def __init__(self, teacher: EndpointTeacher, shots: Sequence[Shot], api_key: SecretStr) -> None:
        self.teacher = teacher
        self.shots = tuple(shots)
        self.key = api_key.get_secret_value().strip()
        self.variable = key_variable(teacher)
        if not (self.key.isascii() and self.key.isprintable()):
            raise KpodError(
                f"environment variable {self.variable}: a key has only printable ASCII "
                "characters; set the variable to the key of the endpoint"
            )
        self.headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        # The client and the pacing belong to the event loop of the first call of `generate`.
        self.client: httpx.AsyncClient | None = None
        self.pacing: Pacing | None = None

    async def check(self, patience_s: float = CHECK_SECONDS) -> None:
        """Request ``/models`` once, to check that the server answers and accepts the key.

        The request is independent of `generate` and of the rate limits, and may use another event loop.
        ``patience_s`` are the seconds to wait for the whole answer.

        Raises:
            KpodError: ``base_url`` is no valid address, the server doesn't answer, rejects the key
                (status 401 or 403), or redirects to another address. Any other status is accepted.
        """
        url = f"{self._base}/models"
        try:
            async with (
                asyncio.timeout(patience_s),
                self._client() as client,
            ):
                response = await client.get(url)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            reason = self._shown(str(error)) or f"no answer within {patience_s:g} s"
            raise KpodError(
                f"teacher.base_url {self.teacher.base_url}: nothing answers there ({reason}); check the "
                "address and that the server runs"
            ) from None
        # Other errors are accepted: some servers have no list of models, yet generate texts.
        if response.status_code in (401, 403) or response.has_redirect_location:
            raise self._fatal(response)

    async def generate(self, request: GenerationRequest) -> Completion:
        """Return the completion of one request; retry after transient failures.

        Each attempt waits until the concurrency and rate limits of the teacher's settings allow it.
        Transient failures are: no connection, no complete answer within ``timeout_s`` after sending,
        status 408, 409, 425, 429 or 5xx, and an `UnreadableAnswer`. A retry waits a little longer than
        the server's ``Retry-After``, during which no other request is sent either, or without the header
        for a random time of at most ``max_wait_s``. At temperature 0 the seed of the request isn't sent.

        Returns:
            The completion. After ``max_tries`` attempts with transient failures, or if the server
            refuses the request by another status, an error row, whose text is the reason in at most 500
            characters.

        Raises:
            KpodError: The server answers status 401, 403 or 404 or a redirect: no request can succeed,
                because the key, the path or the model is wrong.
            httpx.InvalidURL: ``base_url`` is no valid address; `check` raises a `KpodError` for it.
        """
        if self.client is None or self.pacing is None:
            self._open()
        body, num_chars = request_body(self.teacher, request, self.shots)
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
        """Close the connections; call it while no call of `generate` is running.

        A later call of `generate` opens new connections; its rate limits forget all earlier requests.
        """
        if self.client is not None:
            await self.client.aclose()
            self.client = None

    @property
    def _base(self) -> str:
        return self.teacher.base_url.rstrip("/")

    def _open(self) -> None:
        """Create the HTTP client and the pacing."""
        teacher = self.teacher
        self.client = self._client()
        self.pacing = Pacing(
            teacher.max_concurrent, teacher.requests_per_minute, teacher.tokens_per_minute
        )

    def _client(self) -> httpx.AsyncClient:
        """Return a client that sends the key to ``base_url`` alone: it follows no redirects."""
        # `Pacing` limits the number of concurrent requests, and thereby of connections.
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=self.teacher.max_concurrent
        )
        # A proxy of the environment would carry requests to this machine over the network.
        is_local = is_loopback(httpx.URL(self._base).host)
        return httpx.AsyncClient(
            timeout=None, headers=self.headers, limits=limits, trust_env=not is_local
        )

    async def _send(self, request_id: str, body: dict[str, Any], num_chars: int) -> Completion:
        """Send a request once.

        Raises:
            _Busy: The failure is transient.
            _Refused: The server refuses this request.
            KpodError: The server would refuse every request.
        """
        assert self.client is not None
        assert self.pacing is not None
        path = request_path(self.teacher)
        num_tokens = num_chars // CHARS_PER_TOKEN + self.teacher.max_new_tokens
        async with self.pacing.turn(num_tokens):
            try:
                # The timeouts of httpx start again with every byte received; this one doesn't.
                async with asyncio.timeout(self.teacher.timeout_s):
                    response = await self.client.post(f"{self._base}{path}", json=body)
            except TimeoutError as error:
                raise _Busy(f"no answer within {self.teacher.timeout_s:g} s") from error
            except httpx.HTTPError as error:
                raise _Busy(f"{type(error).__name__}: {error}") from error
        self._raise_for_status(response)
        try:
            completion = read_completion(request_id, response)
            completion = dataclasses.replace(completion, text=self._masked(completion.text))
        except UnreadableAnswer as error:
            raise _Busy(str(error)) from error
        if used := completion.num_prompt_tokens + completion.num_tokens:
            self.pacing.used(num_tokens, used)
        return completion

    def _raise_for_status(self, response: httpx.Response) -> None:
        """Raise the exception for the status code of an answer; return after a success."""
        status = response.status_code
        if status in _FATAL or response.has_redirect_location:
            raise self._fatal(response)
        message = f"HTTP {status}: {error_message(response)}"
        if status in _TRANSIENT or status >= 500:
            retry_after = read_retry_after(response.headers.get("Retry-After"))
            if retry_after and self.pacing is not None:
                self.pacing.pause(retry_after)  # holds back the other requests, too
            raise _Busy(message, retry_after)
        if not 200 <= status < 300:
            raise _Refused(message)

    def _fatal(self, response: httpx.Response) -> KpodError:
        """Return the error for an answer that every request would get, with advice for the user."""
        status = response.status_code
        teacher = self.teacher
        if response.has_redirect_location:
            target = response.headers["Location"]
            advice = f"set teacher.base_url to the address of the redirect: {target}"
        elif status == 404:
            message = error_message(response)
            advice = f"check teacher.base_url and teacher.model={teacher.model}: {message}"
        elif self.headers:
            advice = f"the server refuses the key in {self.variable}"
        elif self.variable:
            advice = f"the server wants a key; set the environment variable {self.variable}"
        else:
            advice = (
                "the server wants a key; name the environment variable of the key in "
                "teacher.api_key_env"
            )
        return KpodError(
            f"teacher.base_url {teacher.base_url} answers {status}; {self._shown(advice)}"
        )

    def _shown(self, text: str) -> str:
        """Return a text as one line of limited length in which the API key is replaced by ``***``."""
        # The key is replaced before the line is cut: a cut key would no longer be recognized.
        return " ".join(self._masked(paired(text)).split())[:_LONGEST_MESSAGE]

    def _masked(self, text: str) -> str:
        """Return a text with ``***`` in place of the key, also of the key in JSON or in an address."""
        quoted = json.dumps(self.key)[1:-1]
        for key in (self.key, quoted, quoted.replace("/", r"\/"), urllib.parse.quote(self.key, "")):
            text = text.replace(key, "***") if key else text
        return text

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Return the seconds before the next attempt: the server's Retry-After, or random backoff.

        A tenth of the backoff is added to Retry-After, to spread the requests that wait.
        """
        backoff = tenacity.wait_random_exponential(multiplier=0.5, max=self.teacher.max_wait_s)
        error = state.outcome.exception() if state.outcome else None
        retry_after = error.retry_after if isinstance(error, _Busy) else None
        return backoff(state) if retry_after is None else retry_after + backoff(state) / 10
