"""Profile our train steps on a CPU: ``python -m benchmarks.training_profile --data DIR``.

Student, rationales and batch are those of `benchmarks.training`. Two steps are for warm-up; torch's
profiler measures the others (``--steps`` in all). The JSON object in the last line has, for training of
all parameters and for LoRA, the share of time in matrix products, in attention, and in the operations
that take the most time. Attention is counted separately although most of it is matrix products, too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.training_clock import WARM_UP_STEPS
from benchmarks.training_sides import (
    MODEL,
    Setting,
    load_examples,
    our_training,
)
from kpod_ray.data.sampler import global_batches
from kpod_ray.models.sources import model_folder
from kpod_ray.models.student import load_tokenizer

PRODUCTS = ("aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm")
ATTENTION = "_scaled_dot_product"
NUM_SHOWN = 12


def times_of(data: str, setting: Setting, steps: int) -> dict[str, float]:
    """Return the CPU milliseconds in each operation without the operations it calls, largest first."""
    torch.manual_seed(0)
    folder = model_folder(MODEL)
    examples = load_examples(data, load_tokenizer(folder), setting.template)
    training = our_training(examples, folder, setting)
    every, given = range(len(training.examples)), {e.question_id: 0 for e in training.examples}
    batches = global_batches(every, setting.batch, num_train_steps=steps, seed=0, stage=1)
    for indices in batches[:WARM_UP_STEPS]:
        training.train_step(indices, given, 0.0)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for indices in batches[WARM_UP_STEPS:steps]:
            training.train_step(indices, given, 0.0)
    events = {event.key: event.self_cpu_time_total / 1000 for event in profiled.key_averages()}
    return dict(sorted(events.items(), key=lambda item: -item[1]))


def shares(times: dict[str, float]) -> dict[str, Any]:
    """Return the shares of time in matrix products, in attention and in the largest operations."""
    total = sum(times.values())
    largest = {name: round(time / total, 3) for name, time in list(times.items())[:NUM_SHOWN]}
    products = sum(times.get(name, 0.0) for name in PRODUCTS)
    attention = sum(time for name, time in times.items() if ATTENTION in name)
    return {
        "matrix_products": round(products / total, 3),
        "attention": round(attention / total, 3),
        "both": round((products + attention) / total, 3),
        "largest": largest,
    }


def main() -> None:
    """Profile training of all parameters and of LoRA, and print the shares."""
    parser = argparse.ArgumentParser(description="where the time of a train step goes")
    parser.add_argument("--data", required=True, help="folder that holds svamp/")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    options = parser.parse_args()
    figures = {
        name: shares(times_of(options.data, Setting(is_lora, options.precision), options.steps))
        for name, is_lora in (("full", False), ("lora", True))
    }
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    result = {"benchmark": "training_profile", "machine": machine, "precision": options.precision}
    print(json.dumps({**result, "figures": figures}))


if __name__ == "__main__":
    main()
