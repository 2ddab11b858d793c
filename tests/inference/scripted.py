"""A service without a model, with predictable completions and a record of all finished requests."""

import asyncio
import os
import signal
from pathlib import Path

from kpod_ray.inference.records import Completion


class Scripted:
    """A service that returns a request's text reversed; a text with "poison" kills the process.

    Args:
        marks: file to which the id of every finished request is appended as a line. When the process is
            killed, the number of requests in progress is appended to the file ``<marks>.deaths``.
        seconds: time for each request.
    """

    def __init__(self, marks, seconds=0.0):
        self.marks = str(marks)
        self.seconds = seconds
        self.num_inside = 0

    async def generate(self, request):
        self.num_inside += 1
        await asyncio.sleep(self.seconds)
        if "poison" in request.text:
            with open(f"{self.marks}.deaths", "a") as file:
                file.write(f"{self.num_inside}\n")
            os.kill(os.getpid(), signal.SIGKILL)
        with open(self.marks, "a") as file:
            file.write(f"{request.id}\n")
        self.num_inside -= 1
        return Completion(request.id, request.text[::-1], "stop", len(request.text), 3, -1.5)


def marked(marks):
    """Return the ids of finished requests; an id that was finished twice is listed twice."""
    path = Path(marks)
    return path.read_text().split() if path.exists() else []
