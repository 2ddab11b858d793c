"""What a side of `benchmarks.training` takes: tokens a second, memory, and how busy a GPU is."""

from __future__ import annotations

import dataclasses
import resource
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import psutil
import torch

WARM_UP_STEPS = 2
ON_GPU = torch.cuda.is_available()


@dataclasses.dataclass
class Clock:
    """Tokens, positions with padding, and seconds of each step; made before the model is loaded."""

    memory_before: int = dataclasses.field(
        default_factory=lambda: psutil.Process().memory_info().rss
    )

    tokens: list[int] = dataclasses.field(default_factory=list)
    slots: list[int] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    busy_fractions: list[float] = dataclasses.field(default_factory=list)
    """Of the GPU in the last moment, read many times after the first steps."""

    def collating(self, collate: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a collator that notes what goes into a batch."""

        def noted(features: Sequence[Any]) -> Any:
            batch = collate(features)
            self.tokens.append(sum(len(feature["input_ids"]) for feature in features))
            self.slots.append(batch["input_ids"].numel())
            return batch

        return noted

    def start(self) -> None:
        """Begin a step."""
        if ON_GPU and len(self.seconds) == WARM_UP_STEPS:
            threading.Thread(target=self._watch, daemon=True).start()
        self._started = time.perf_counter()

    def stop(self) -> None:
        """End a step: all of it is computed."""
        if ON_GPU:
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._started)

    def _watch(self) -> None:
        while True:
            self.busy_fractions.append(torch.cuda.utilization() / 100)
            time.sleep(0.05)

    def figures(self) -> dict[str, float]:
        """Return tokens a second and the share of padding, without the first steps; and memory."""
        steps = slice(WARM_UP_STEPS, len(self.seconds))
        tokens, slots = sum(self.tokens[steps]), sum(self.slots[steps])
        figures = {
            "tokens_per_s": round(tokens / sum(self.seconds[steps]), 1),
            "padding_share": round(1 - tokens / slots, 3),
        }
        if ON_GPU:
            figures["peak_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
            return figures | {"busy_share": round(statistics.median(self.busy_fractions), 3)}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return figures | {"peak_mib": round((peak - self.memory_before) / 2**20)}
