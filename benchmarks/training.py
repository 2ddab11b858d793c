"""Compare training with TRL and transformers: ``python -m benchmarks.training --data DIR``.

Speed and memory are compared. All sides train the same student on the same tokenized SVAMP rationales
with the same precision, batch and optimizer, in turns, each in a process of its own. The first steps
aren't counted. Needs TRL (``pip install --no-deps trl==1.16.0``). If there is a GPU, everything is
measured there, and TRL also with Liger's kernels (``pip install --no-deps liger-kernel``).

For each side, the benchmark prints tokens per second (tokens of the data, without padding), the share of
padding, the peak memory in MiB above the memory before the model was loaded, and on a GPU the share of
time in which the GPU was busy; then our ratios to the others. The last line is one JSON object.

``--only``, ``--settings``, ``--steps`` and ``--rounds`` make the benchmark shorter. ``--model`` and
``--batch`` make it larger. ``--precision fp32`` is for a CPU that emulates bf16. With ``--template
plain``, the prompts have no common system message, whose computation our side shares within a batch.
"""

from __future__ import annotations

import argparse
import itertools
import json
import operator
import os
import platform
import statistics
import subprocess
import sys
from typing import Any

import torch

from benchmarks.training_clock import ON_GPU
from benchmarks.training_sides import NEED_GPU, SIDES, Setting, measure
from kpod_ray.cluster.placement import CPU_ENVIRONMENT


def run_side(options: argparse.Namespace, side: str, setting: str) -> dict[str, float]:
    """Measure one side in a process of its own; return its figures.

    Raises:
        SystemExit: The process failed.
    """
    command = [sys.executable, "-m", "benchmarks.training", "--data", options.data]
    command += ["--precision", options.precision, "--steps", str(options.steps)]
    command += ["--micro-batch-tokens", str(options.micro_batch_tokens)]
    command += ["--model", options.model, "--batch", str(options.batch)]
    command += ["--template", options.template]
    command += ["--here", side, setting]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}
    if side.startswith("ours") and not ON_GPU:
        environment |= CPU_ENVIRONMENT  # a training worker has these variables
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode:
        raise SystemExit(f"{side}: {result.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return figures


def summary(results: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return medians and ranges of each side, and our ratios to the other sides."""
    rates = {side: [r["tokens_per_s"] for r in rows] for side, rows in results.items()}
    table = {
        side: {
            "tokens_per_s": round(statistics.median(rates[side]), 1),
            "spread": f"{min(rates[side]):.1f} to {max(rates[side]):.1f}",
            "peak_mib": round(_median(results, side, "peak_mib")),
            "padding_fraction": round(_median(results, side, "padding_fraction"), 3),
        }
        | ({"busy_share": _median(results, side, "busy_share")} if ON_GPU else {})
        for side in results
    }
    ratios = {
        side: {
            "tokens_per_s": round(
                statistics.median(map(operator.truediv, rates["ours"], rates[side])), 2
            ),
            "peak_mib": round(
                _median(results, "ours", "peak_mib") / _median(results, side, "peak_mib"), 2
            ),
        }
        for side in table
        if side != "ours" and "ours" in table
    }
    return {"sides": table, "ours_to": ratios}


def _median(results: dict[str, list[dict[str, float]]], side: str, name: str) -> float:
    return statistics.median(row[name] for row in results[side])


def main() -> None:
    """Measure every side and print the figures."""
    parser = argparse.ArgumentParser(description="training against TRL and transformers")
    parser.add_argument("--data", required=True, help="folder that holds svamp/")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--settings", nargs="+", choices=["full", "lora"], default=["full", "lora"])
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument(
        "--micro-batch-tokens", type=int, default=Setting.micro_batch_tokens, help="of ours"
    )
    parser.add_argument("--model", default=Setting.model, help="one of a config, or random:NAME")
    parser.add_argument("--batch", type=int, default=Setting.batch, help="examples of an update")
    parser.add_argument("--template", choices=["chat", "plain"], default=Setting.template)
    possible = [side for side in SIDES if ON_GPU or side not in NEED_GPU]
    parser.add_argument("--only", nargs="+", choices=possible, default=possible)
    parser.add_argument("--here", nargs=2, help="one side, in this process")
    options = parser.parse_args()
    if options.here:
        side, setting = options.here
        here = Setting(
            setting == "lora",
            options.precision,
            options.model,
            options.batch,
            options.micro_batch_tokens,
            options.template,
        )
        print(json.dumps(measure(options.data, side, here, options.steps)))
        return
    figures = {}
    for setting in options.settings:
        results: dict[str, list[dict[str, float]]] = {side: [] for side in options.only}
        for round_number, side in itertools.product(range(options.rounds), options.only):
            figure = run_side(options, side, setting)
            results[side].append(figure)
            print(f"{setting}, round {round_number}, {side}: {figure}", flush=True)
        figures[setting] = summary(results)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    if ON_GPU:
        machine = f"{torch.cuda.get_device_name()}, {machine}"
    result = {"benchmark": "training", "machine": machine, "precision": options.precision}
    for name in ("micro_batch_tokens", "model", "batch", "template"):
        result[name] = getattr(options, name)
    print(json.dumps({**result, "figures": figures}))


if __name__ == "__main__":
    main()
