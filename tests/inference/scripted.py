"""A service without a model: what it writes is known, and every text it finishes leaves a mark."""

import asyncio
import os
import signal
from pathlib import Path

from kpod_ray.records import Completion


class Scripted:
    """Writes a request's text backwards. A text with "poison" in it kills the process.

    Args:
        marks: file that gets the id of every finished text as a line.
        seconds: for each text.
    """

    def __init__(self, marks, seconds=0.0):
        self.marks, self.seconds = str(marks), seconds
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
    """Return the ids of the finished texts, as often as they were finished."""
    path = Path(marks)
    return path.read_text().split() if path.exists() else []
