"""What Ray's own dashboards show of a run: gauges, on the Prometheus port of the driver's node.

`configs/cluster/grafana.json` is a Grafana dashboard that draws them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray
from ray.util.metrics import Gauge

from kpod_ray.tracking.summaries import kept_samples_fraction

TRAINING = {
    "stage": "stage of the student's training",
    "train_step": "train steps done",
    "num_train_steps": "train steps in all",
    "tokens_per_s": "tokens trained on a second, padding not counted",
    "loss": "loss that is minimised",
    "given_steps_mean": "reasoning steps given to the student, mean over a batch",
    "validation_loss": "loss of a token of the questions held out, nats",
    "validation_accuracy": "share of right answers to the questions held out",
}
"""Metrics of a train step that are shown, and what they are."""
OTHERS = {
    "texts_done": "texts generated",
    "texts_waiting": "texts that are still to be generated",
    "kept_samples_fraction": "share of the teacher's samples that are kept",
    "accuracy": "share of right answers to the test questions",
}


class Gauges:
    """The gauges of one run; what is told of it before Ray is there is dropped.

    Args:
        run: name of the run, the tag by which it is told from others.
    """

    def __init__(self, run: str) -> None:
        self.run = run
        self.gauges: dict[str, Gauge] = {}

    def train_step(self, phase: str, metrics: Mapping[str, float]) -> None:
        """Show the metrics of a train step of the weighter or the student."""
        self._set(phase, {name: metrics[name] for name in TRAINING if name in metrics})

    def rows(self, phase: str, num_done: int, num_rows: int) -> None:
        """Show how many texts of a phase are generated, and how many wait."""
        self._set(phase, {"texts_done": num_done, "texts_waiting": num_rows - num_done})

    def finish(self, phase: str, manifest: Mapping[str, Any]) -> None:
        """Show what a finished phase brought."""
        kept = kept_samples_fraction(manifest)
        if kept is not None:
            self._set(phase, {"kept_samples_fraction": kept})
        if "accuracy" in manifest:
            self._set(phase, {"accuracy": manifest["accuracy"]["value"]})

    def _set(self, phase: str, values: Mapping[str, float]) -> None:
        if not ray.is_initialized():
            return
        for name, value in values.items():
            if name not in self.gauges:
                about = {**TRAINING, **OTHERS}[name]
                self.gauges[name] = Gauge(f"kpod_{name}", about, tag_keys=("run", "phase"))
            self.gauges[name].set(value, tags={"run": self.run, "phase": phase})
