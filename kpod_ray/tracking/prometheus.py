"""Prometheus gauges of a run, exported by Ray's metrics agent on the driver's node.

``configs/cluster/grafana.json`` is a Grafana dashboard that draws the gauges.
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
    "num_train_steps": "number of all train steps",
    "tokens_per_s": "tokens trained on per second, without padding",
    "loss": "loss that is minimised",
    "given_steps_mean": "given steps of a question, mean over a batch",
    "validation_loss": "loss per token on the validation set, nats",
    "validation_accuracy": "fraction of correct answers on the validation set",
}
"""Name of a train step's metric -> description of its gauge."""
OTHERS = {
    "texts_done": "texts generated",
    "texts_waiting": "texts not yet generated",
    "kept_samples_fraction": "fraction of the teacher's samples that are kept",
    "accuracy": "fraction of correct answers to the test questions",
}
"""Value of a phase -> description of its gauge."""


class Gauges:
    """The gauges of one run, named ``kpod_NAME`` with the tags ``run`` and ``phase``.

    Values that are set while this process isn't connected to Ray are dropped, because Ray exports gauges
    of connected processes only. A gauge keeps its last value.

    Args:
        run: name of the run; value of the tag ``run``.
    """

    def __init__(self, run: str) -> None:
        self.run = run
        self.gauges: dict[str, Gauge] = {}

    def train_step(self, phase: str, metrics: Mapping[str, float]) -> None:
        """Set the gauges of a train step.

        Args:
            phase: ``weigh`` or ``train``; value of the tag ``phase``.
            metrics: metrics of the train step by name; only those in `TRAINING` have gauges.
        """
        self._set(phase, {name: metrics[name] for name in TRAINING if name in metrics})

    def rows(self, phase: str, num_done: int, num_rows: int) -> None:
        """Set the gauges of the texts that a phase has generated, and has yet to generate.

        Args:
            phase: name of the artifact whose texts are generated, such as ``evaluate``; value of the tag
                ``phase``.
            num_done: number of texts generated so far, including those of an earlier, interrupted run.
            num_rows: number of all texts of the artifact.
        """
        self._set(phase, {"texts_done": num_done, "texts_waiting": num_rows - num_done})

    def finish(self, phase: str, manifest: Mapping[str, Any]) -> None:
        """Set the gauges of `kept_samples_fraction` and the accuracy, as far as the manifest has them.

        The tag ``phase`` is the name of the finished artifact, such as ``teacher``.
        """
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
                description = {**TRAINING, **OTHERS}[name]
                self.gauges[name] = Gauge(f"kpod_{name}", description, tag_keys=("run", "phase"))
            self.gauges[name].set(value, tags={"run": self.run, "phase": phase})
