"""Measure a side of `benchmarks.training`: tokens per second, peak memory, use of the GPU."""

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
"""First steps, which aren't counted."""
ON_GPU = torch.cuda.is_available()


@dataclasses.dataclass
class Clock:
    """Records tokens and seconds of each train step; must be made before the model is loaded."""

    memory_before: int = dataclasses.field(
        default_factory=lambda: psutil.Process().memory_info().rss
    )
    """Resident memory of the process before the model is loaded, in bytes."""
    tokens: list[int] = dataclasses.field(default_factory=list)
    """Tokens of the data in each step."""
    slots: list[int] = dataclasses.field(default_factory=list)
    """Positions of the batches in each step, with padding."""
    seconds: list[float] = dataclasses.field(default_factory=list)
    busy_fractions: list[float] = dataclasses.field(default_factory=list)
    """Samples of the GPU's utilization, 0 to 1, taken after the first steps."""

    def collating(self, collate: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a collator that also records the tokens and positions of each batch."""

        def noted(features: Sequence[Any]) -> Any:
            """Return the batch of the examples, whose tokens and positions are recorded."""
            batch = collate(features)
            self.tokens.append(sum(len(feature["input_ids"]) for feature in features))
            self.slots.append(batch["input_ids"].numel())
            return batch

        return noted

    def start(self) -> None:
        """Record the start of a step."""
        if ON_GPU and len(self.seconds) == WARM_UP_STEPS:
            threading.Thread(target=self._watch, daemon=True).start()
        self._started = time.perf_counter()

    def stop(self) -> None:
        """Record the end of a step, after the GPU has finished its work."""
        if ON_GPU:
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._started)

    def _watch(self) -> None:
        while True:
            self.busy_fractions.append(torch.cuda.utilization() / 100)
            time.sleep(0.05)

    def figures(self) -> dict[str, float]:
        """Return tokens per second and share of padding without the first steps, and peak memory."""
        steps = slice(WARM_UP_STEPS, len(self.seconds))
        tokens, slots = sum(self.tokens[steps]), sum(self.slots[steps])
        figures = {
            "tokens_per_s": round(tokens / sum(self.seconds[steps]), 1),
            "padding_fraction": round(1 - tokens / slots, 3),
        }
        if ON_GPU:
            figures["peak_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
            return figures | {"busy_share": round(statistics.median(self.busy_fractions), 3)}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return figures | {"peak_mib": round((peak - self.memory_before) / 2**20)}
