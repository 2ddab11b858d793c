"""What trials share is made once, even when several need it at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray


class Workshop:
    """Makes artifacts for whoever asks; one actor a sweep.

    Args:
        make: makes an artifact, given a config and the artifact's name; runs as a task.
    """

    def __init__(self, make: Callable[[Any, str], None]) -> None:
        self.task = ray.remote(make).options(num_cpus=0)
        self.makings: dict[str, Any] = {}
        self.claims: dict[str, str] = {}

    async def make(self, folder: str, config: Any, name: str) -> None:
        """Make the artifact in a folder unless it was made, or wait for another's making of it.

        Raises:
            Exception: What making it raised; asked again, it is tried again.
        """
        if folder not in self.makings:
            self.makings[folder] = self.task.remote(config, name)
        making = self.makings[folder]
        try:
            await making
        except Exception:
            if self.makings.get(folder) == making:
                del self.makings[folder]
            raise

    async def claim(self, folder: str, trial: str) -> str:
        """Return the first trial that claimed a folder, which alone may write to it."""
        return self.claims.setdefault(folder, trial)
