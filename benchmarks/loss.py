"""Measure time and memory of the weighted loss against full logits: ``python -m benchmarks.loss``.

One forward and backward pass from hidden states through the output head, with all positions supervised
and with half of them. The baseline computes the logits of every position at once, as trainers usually
do, and then torch's cross entropy over the supervised positions. On a CPU, each measurement runs in a
process of its own; if there is a GPU, everything is measured on the GPU.

For each case, the benchmark prints the median seconds and peak MiB above the inputs of each side, and
our ratios to the others. ``--tokens``, ``--dtypes`` and ``--rounds`` choose fewer cases. ``--sides``
adds torch's ``linear_cross_entropy`` and, on a GPU, Liger's (``pip install --no-deps liger-kernel``),
both with per-token losses. The last line is one JSON object.
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
"""Hidden size."""
VOCABULARIES = (49_152, 151_936)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SHARES = (1.0, 0.5)
"""Fractions of the positions that are supervised."""
WARM_UP_TOKENS = 64


def ours(hidden: Tensor, head: Tensor, labels: Tensor, is_supervised: Tensor) -> Tensor:
    """Return our loss: logits of supervised positions only, computed in chunks."""
    weights = torch.ones(int(is_supervised.sum()), device=hidden.device)
    return weighted_nll(hidden[is_supervised], head, labels[is_supervised], weights)[0]


def full_logits(hidden: Tensor, head: Tensor, labels: Tensor, is_supervised: Tensor) -> Tensor:
    """Return the loss from the logits of all positions at once."""
    logits = (hidden @ head.to(hidden.dtype).T).float()
    targets = torch.where(is_supervised, labels, -100)
    return torch.nn.functional.cross_entropy(logits, targets, ignore_index=-100, reduction="sum")


def torch_fused(hidden: Tensor, head: Tensor, labels: Tensor, is_supervised: Tensor) -> Tensor:
    """Return torch's fused loss: logits in chunks, computed again in the backward pass."""
    losses = torch.nn.functional.linear_cross_entropy(
        hidden[is_supervised],
        head.to(hidden.dtype),
        labels[is_supervised],
        reduction="none",
        options=torch.nn.LinearCrossEntropyOptions(),
    )
    return losses.sum()


def liger(hidden: Tensor, head: Tensor, labels: Tensor, is_supervised: Tensor) -> Tensor:
    """Return Liger's fused loss: logits and their gradients in chunks."""
    from liger_kernel.transformers import functional

    rows = hidden[is_supervised]
    loss = functional.liger_fused_linear_cross_entropy(
        rows,
        head.to(rows.dtype),
        labels[is_supervised],
        reduction="none",
        accum_dtype=torch.float32,
    )
    return loss.sum()


SIDES = {"ours": ours, "full": full_logits, "torch": torch_fused, "liger": liger}
BASE_SIDES = ("ours", "full")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def measure(
    side: str, num_tokens: int, vocabulary: int, dtype: str, share: float
) -> dict[str, Any]:
    """Run one forward and backward pass in this process; return seconds, peak MiB and the mean loss.

    Args:
        side: key of `SIDES`.
        num_tokens: positions.
        vocabulary: size of the vocabulary.
        dtype: key of `DTYPES`.
        share: fraction of the positions that are supervised.
    """
    torch.manual_seed(0)
    head = (torch.randn(vocabulary, WIDTH, device=DEVICE) / WIDTH**0.5).requires_grad_()
    hidden = torch.randn(num_tokens, WIDTH, device=DEVICE).to(DTYPES[dtype]).requires_grad_()
    labels = torch.randint(vocabulary, (num_tokens,), device=DEVICE)
    is_supervised = torch.arange(num_tokens, device=DEVICE) < share * num_tokens
    # Warm up: a GPU compiles its kernels in a full pass; on a CPU a small pass must do, as a full one
    # would set the peak memory of the process.
    if DEVICE == "cuda":
        SIDES[side](hidden, head, labels, is_supervised).backward()
    else:
        warm, small = slice(0, WARM_UP_TOKENS), labels % WIDTH
        SIDES[side](hidden[warm], head[:WIDTH], small[warm], is_supervised[warm]).backward()
    hidden.grad = head.grad = None
    before = _memory_and_start_over()
    started = time.perf_counter()
    total = SIDES[side](hidden, head, labels, is_supervised)
    total.backward()
    mean = float(total.detach()) / int(is_supervised.sum())
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_mib": (_peak() - before) / 2**20, "nats": mean}


def _memory_and_start_over() -> int:
    if DEVICE == "cpu":
        return int(psutil.Process().memory_info().rss)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def _peak() -> int:
    if DEVICE == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return torch.cuda.max_memory_allocated()


def measured(side: str, case: tuple[Any, ...]) -> dict[str, float]:
    """Measure one side of a case.

    On a CPU, the measurement runs in a process of its own, since peak memory is known per process only.
    """
    if DEVICE == "cuda":
        return measure(side, *case)
    command = [sys.executable, "-m", "benchmarks.loss", "--here", side, *map(str, case)]
    result = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
    return dict(json.loads(result.stdout))


def compare(case: tuple[Any, ...], sides: list[str], rounds: int) -> dict[str, Any]:
    """Measure all sides of a case in turn; return medians and our ratios to each other side.

    Args:
        case: tokens, vocabulary, dtype, supervised fraction.
        sides: keys of `SIDES`; the first is ours.
        rounds: measurements of each side.
    """
    results: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _, side in itertools.product(range(rounds), sides):
        results[side].append(measured(side, case))
    row = dict(zip(("tokens", "vocabulary", "dtype", "supervised"), case, strict=True))
    for name, digits in (("seconds", 4), ("peak_mib", 0)):
        medians = {s: statistics.median(r[name] for r in results[s]) for s in sides}
        row |= {f"{side}_{name}": round(value, digits) for side, value in medians.items()}
        for other in sides[1:]:
            row[f"{name}_to_{other}"] = round(medians["ours"] / medians[other], 3)
            ratios = [
                our_result[name] / result[name]
                for our_result, result in zip(results["ours"], results[other], strict=True)
            ]
            row[f"{name}_to_{other}_range"] = f"{min(ratios):.2f} to {max(ratios):.2f}"
    nats = [result["nats"] for side in sides for result in results[side]]
    assert max(nats) - min(nats) < 1e-2 * max(nats), f"the sides disagree: {nats}"
    return row


def main() -> None:
    """Measure every case and print the figures."""
    parser = argparse.ArgumentParser(description="the weighted loss against full logits")
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 8192])
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="*", choices=list(SIDES)[2:], default=[], help="also")
    parser.add_argument("--here", nargs=5, help="one measurement, in this process")
    options = parser.parse_args()
    if options.here:
        side, num_tokens, vocabulary, dtype, share = options.here
        print(json.dumps(measure(side, int(num_tokens), int(vocabulary), dtype, float(share))))
        return
    rows = []
    for case in itertools.product(options.tokens, VOCABULARIES, options.dtypes, SHARES):
        rows.append(compare(case, [*BASE_SIDES, *options.sides], options.rounds))
        print(rows[-1], flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    if DEVICE == "cuda":
        machine = f"{torch.cuda.get_device_name()}, {machine}"
    print(
        json.dumps(
            {"benchmark": "loss", "machine": machine, "rounds": options.rounds, "rows": rows}
        )
    )


if __name__ == "__main__":
    main()
