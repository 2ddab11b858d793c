"""Time and memory of the weighted loss against full logits: ``python -m benchmarks.loss``.

Forward and backward pass from hidden states and output head alone, both sides one after the other, each
in a process of its own, for all positions supervised and for half. Full logits are what a trainer
usually does: logits for every position, then torch's cross entropy over those supervised. Memory is the
peak above what the inputs take. ``--tokens``, ``--dtypes`` and ``--rounds`` make it shorter. The last
line is one JSON object.
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
from typing import Any

import psutil
import torch
from torch import Tensor

from kpod_ray.algorithm.loss import weighted_nll

WIDTH = 896
VOCABULARIES = (49_152, 151_936)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SHARES = (1.0, 0.5)
WARM_UP_TOKENS = 64


def ours(hidden: Tensor, head: Tensor, labels: Tensor, is_supervised: Tensor) -> Tensor:
    """Only supervised positions reach the head, their logits chunk by chunk."""
    weights = torch.ones(int(is_supervised.sum()))
    return weighted_nll(hidden[is_supervised], head, labels[is_supervised], weights)[0]


def full_logits(hidden: Tensor, head: Tensor, labels: Tensor, is_supervised: Tensor) -> Tensor:
    """All logits at once."""
    logits = (hidden @ head.to(hidden.dtype).T).float()
    targets = torch.where(is_supervised, labels, -100)
    return torch.nn.functional.cross_entropy(logits, targets, ignore_index=-100, reduction="sum")


SIDES = {"ours": ours, "full": full_logits}


def measure(
    side: str, num_tokens: int, vocabulary: int, dtype: str, share: float
) -> dict[str, Any]:
    """Return seconds and peak memory of one forward and backward pass in this process."""
    torch.manual_seed(0)
    head = (torch.randn(vocabulary, WIDTH) / WIDTH**0.5).requires_grad_()
    hidden = torch.randn(num_tokens, WIDTH).to(DTYPES[dtype]).requires_grad_()
    labels = torch.randint(vocabulary, (num_tokens,))
    is_supervised = torch.arange(num_tokens) < share * num_tokens
    warm = slice(0, WARM_UP_TOKENS)
    SIDES[side](hidden[warm], head[:WIDTH], labels[warm] % WIDTH, is_supervised[warm]).backward()
    hidden.grad = head.grad = None
    before = psutil.Process().memory_info().rss
    started = time.perf_counter()
    total = SIDES[side](hidden, head, labels, is_supervised)
    total.backward()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    mean = float(total.detach()) / int(is_supervised.sum())
    return {"seconds": seconds, "peak_mib": (peak - before) / 2**20, "nats": mean}


def compare(case: tuple[Any, ...], rounds: int) -> dict[str, Any]:
    """Measure both sides of one case in turn; return medians and their ratios."""
    results: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _, side in itertools.product(range(rounds), SIDES):
        arguments = [side, *map(str, case)]
        command = [sys.executable, "-m", "benchmarks.loss", "--here", *arguments]
        result = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
        results[side].append(json.loads(result.stdout))
    row = dict(zip(("tokens", "vocabulary", "dtype", "supervised"), case, strict=True))
    for name, digits in (("seconds", 2), ("peak_mib", 0)):
        medians = {s: statistics.median(r[name] for r in results[s]) for s in SIDES}
        row |= {f"{side}_{name}": round(value, digits) for side, value in medians.items()}
        row[f"{name}_ratio"] = round(medians["ours"] / medians["full"], 3)
        ratios = [
            mine[name] / theirs[name]
            for mine, theirs in zip(results["ours"], results["full"], strict=True)
        ]
        row[f"{name}_ratios"] = f"{min(ratios):.2f} to {max(ratios):.2f}"
    nats = [result["nats"] for side in SIDES for result in results[side]]
    assert max(nats) - min(nats) < 1e-2 * max(nats), f"the sides disagree: {nats}"
    return row


def main() -> None:
    """Measure every case and print the figures."""
    parser = argparse.ArgumentParser(description="the weighted loss against full logits")
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 8192])
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--here", nargs=5, help="one measurement, in this process")
    options = parser.parse_args()
    if options.here:
        side, num_tokens, vocabulary, dtype, share = options.here
        print(json.dumps(measure(side, int(num_tokens), int(vocabulary), dtype, float(share))))
        return
    rows = []
    for case in itertools.product(options.tokens, VOCABULARIES, options.dtypes, SHARES):
        rows.append(compare(case, options.rounds))
        print(rows[-1], flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    print(
        json.dumps(
            {"benchmark": "loss", "machine": machine, "rounds": options.rounds, "rows": rows}
        )
    )


if __name__ == "__main__":
    main()
