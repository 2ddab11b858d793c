"""Requests to a server of the tests, as an endpoint sends them."""

import asyncio

from pydantic import SecretStr

from kpod_ray.config import EndpointTeacher
from kpod_ray.inference.endpoint.openai_client import Endpoint
from kpod_ray.inference.records import GenerationRequest

KEY = "sk-very-secret"


def teacher(url, **settings):
    patient = {"max_wait_s": 0.2, "timeout_s": 5, "max_tries": 3}
    return EndpointTeacher(
        **{"kind": "endpoint", "model": "m", "base_url": url, **patient, **settings}
    )


def asked(server, num=1, key=KEY, shots=(), **settings):
    """Send so many requests at once; return their completions."""

    async def main():
        endpoint = Endpoint(teacher(server.url, **settings), shots, SecretStr(key))
        requests = [GenerationRequest(f"r{i}", f"question {i}?", i) for i in range(num)]
        try:
            return await asyncio.gather(*(endpoint.generate(request) for request in requests))
        finally:
            await endpoint.close()

    return asyncio.run(main())
