"""CPU time and memory of single kernels against torch's operations: ``python -m benchmarks.kernels``.

Layers of the size of SmolLM2-135M's in fp32, forward and backward pass on one thread, each side in a
process of its own with a worker's malloc settings; the first pass doesn't count. CPU time is little
disturbed by other work on the machine. Memory is the peak above what the process held before.
`benchmarks.loss` measures the output head. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import peft
import psutil
import torch
from torch import Tensor, nn
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from kpod_ray.cluster.placement import CPU_ENVIRONMENT
from kpod_ray.config import LoraConfig
from kpod_ray.kernels.packed_attention import attend_on_cpu
from kpod_ray.kernels.packed_layout import place_sequences
from kpod_ray.kernels.recomputed_layers import RecomputedGatedMlp, RecomputedNorm, Scratch
from kpod_ray.training.build import add_adapters

WIDTH, INNER, VOCABULARY, HEADS, KEY_HEADS = 576, 1536, 49_152, 9, 3
NUM_LAYERS, NUM_TOKENS = 4, 1024
LENGTHS, PREFIX = [128] * 8, 24
"""Tokens of the sequences of a packed row, and those that all of them begin with."""
Pass = Callable[[], Tensor]
"""A forward pass, which returns the loss."""


def mlp_block(side: str) -> Pass:
    """Norm and gated feed-forward part, with residual connections."""
    config = LlamaConfig(hidden_size=WIDTH, intermediate_size=INNER, num_attention_heads=HEADS)
    layers, scratch = nn.ModuleList(), Scratch()
    for _ in range(NUM_LAYERS):
        norm, mlp = LlamaRMSNorm(WIDTH), LlamaMLP(config)
        if side == "ours":
            norm = RecomputedNorm(norm.weight, norm.variance_epsilon)
            mlp = RecomputedGatedMlp(mlp.gate_proj, mlp.up_proj, mlp.down_proj, scratch)
        layers.append(nn.Sequential(norm, mlp))
    hidden = torch.randn(1, NUM_TOKENS, WIDTH, requires_grad=True)

    def run() -> Tensor:
        """Return the loss of a forward pass through the layers."""
        states = hidden
        for layer in layers:
            states = states + layer(states)
        return states.square().mean()

    return run


def lora_linear(side: str) -> Pass:
    """Linear layers with adapters of rank 64, as wide as the feed-forward part."""
    model = nn.Sequential()
    for _ in range(NUM_LAYERS):
        model.extend([nn.Linear(WIDTH, INNER, bias=False), nn.Linear(INNER, WIDTH, bias=False)])
    config = LoraConfig(rank=64, target_modules=tuple(map(str, range(2 * NUM_LAYERS))))
    if side == "ours":
        add_adapters(model, config)
    else:
        add_adapters(model, config, peft.tuners.lora.Linear)
    hidden = torch.randn(NUM_TOKENS, WIDTH, requires_grad=True)
    return lambda: model(hidden).square().mean()


def packed_attention(side: str) -> Pass:
    """Attention of each of eight sequences; torch's has padding nowhere and the prefix in every one."""
    prefix = PREFIX if side == "ours" else 0
    layout = place_sequences(LENGTHS, prefix)
    num_places = len(layout.own_places)
    heads = (HEADS, KEY_HEADS, KEY_HEADS)
    states = [torch.randn(1, num_places, h, 64, requires_grad=True) for h in heads]

    def run() -> Tensor:
        """Return the loss of a forward pass through the layers."""
        total = torch.zeros(())
        for _ in range(NUM_LAYERS):
            query, key, value = (state * 1.0 for state in states)
            if side == "ours":
                output = attend_on_cpu((query, key, value), layout, None)
            else:
                output = _one_by_one(query, key, value)
            total = total + output.square().mean()
        return total

    return run


def _one_by_one(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    parts = zip(
        *(each.transpose(1, 2).split(LENGTHS, 2) for each in (query, key, value)), strict=True
    )
    attend = torch.nn.functional.scaled_dot_product_attention
    outputs = [attend(q, k, v, is_causal=True, enable_gqa=True) for q, k, v in parts]
    return torch.cat(outputs, 2).transpose(1, 2)


CASES = {f.__name__: f for f in (mlp_block, lora_linear, packed_attention)}
SIDES = ("ours", "torch")


def measure(case: str, side: str, repeats: int) -> dict[str, float]:
    """Return median CPU milliseconds and peak memory of a forward and backward pass here."""
    torch.manual_seed(0)
    run, seconds = CASES[case](side), []
    before = psutil.Process().memory_info().rss
    for _ in range(1 + repeats):
        started = time.process_time()
        run().backward()
        seconds.append(time.process_time() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"cpu_ms": 1000 * statistics.median(seconds[1:]), "peak_mib": (peak - before) / 2**20}


def main() -> None:
    """Measure every case and print the figures."""
    parser = argparse.ArgumentParser(description="single kernels against torch's own operations")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--here", nargs=2, help="one measurement, in this process")
    options = parser.parse_args()
    if options.here:
        case, side = options.here
        print(json.dumps(measure(case, side, options.repeats)))
        return
    command = [
        sys.executable,
        "-m",
        "benchmarks.kernels",
        "--repeats",
        str(options.repeats),
        "--here",
    ]
    figures: dict[str, dict[str, list[float]]] = {}
    for _, case, side in itertools.product(range(options.rounds), CASES, SIDES):
        result = subprocess.run(
            [*command, case, side],
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            env={**os.environ, **CPU_ENVIRONMENT, "OMP_NUM_THREADS": "1"},
        )
        for name, value in json.loads(result.stdout).items():
            rows = figures.setdefault(f"{case}, {side}", {})
            rows.setdefault(name, []).append(round(value, 1))
        print(case, side, result.stdout, end="", flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    print(json.dumps({"benchmark": "kernels", "machine": machine, "figures": figures}))


if __name__ == "__main__":
    main()
