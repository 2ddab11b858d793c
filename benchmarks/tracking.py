"""Measure what an unreachable W&B server costs a run: ``python -m benchmarks.tracking``.

The smoke config (reference rationales as teacher, evaluation by transformers) runs with W&B disabled,
offline, online with a server that refuses connections, and online with a server that accepts them and
never answers. Each run has a process and a storage of its own. The losses of all train steps and the
predictions must be the same in all runs, and a run that no server took must be in W&B's local files.

The benchmark prints the wall seconds of the whole command, the warnings and the size of W&B's files for
each side, and the ratios to the disabled side. A run of the phase ``questions`` alone takes almost no
time by itself, so that its seconds are W&B's constant cost. ``--only`` selects sides; the disabled side
is always measured. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

KEY = "0123456789abcdef0123456789abcdef01234567"
SIDES = {"disabled": "disabled", "offline": "offline", "refusing": "online", "hanging": "online"}
"""Name of a side -> value of ``tracking.mode``."""
SETTINGS = (
    "configs/smoke.yaml",
    "teacher={kind: reference}",
    "evaluation.backend=transformers",
)


@contextlib.contextmanager
def dead_server(side: str) -> Iterator[str]:
    """Yield the address of a server that never answers.

    Args:
        side: with ``hanging`` the server accepts connections, otherwise it refuses them.
    """
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        if side == "hanging":
            bound.listen(256)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def run_side(side: str, until: str, overrides: list[str]) -> dict[str, Any]:
    """Run the command once; return its seconds, a digest of its results, and its W&B files."""
    command = [sys.executable, "-m", "kpod_ray", "run", *SETTINGS, "--until", until]
    with tempfile.TemporaryDirectory() as folder, dead_server(side) as url:
        command += [f"storage={folder}", f"tracking.mode={SIDES[side]}", *overrides]
        environment = {**os.environ, "WANDB_BASE_URL": url, "WANDB_API_KEY": KEY}
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        seconds = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(f"{side}: {done.stderr[-2000:]}")
        files = list(Path(folder).glob("runs/*/wandb/offline-run-*/*.wandb"))
        return {
            "seconds": round(seconds, 2),
            "results": _digest(Path(folder)),
            "wandb_files": len(files),
            "wandb_bytes": sum(file.stat().st_size for file in files),
            "warnings": sum("W&B" in line for line in done.stderr.splitlines()),
        }


def _digest(storage: Path) -> str:
    """Return a digest of all training losses and all predictions in a storage."""
    histories = [json.loads(file.read_text()) for file in storage.glob("train/*/history.json")]
    losses = [row["loss"] for history in histories for row in history]
    predictions = sorted(
        json.dumps(pq.read_table(file).to_pylist(), sort_keys=True)
        for file in storage.glob("evaluate/*/predictions.parquet")
    )
    return hashlib.sha256(json.dumps([losses, predictions]).encode()).hexdigest()[:16]


def summary(results: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return median seconds, whether all results are equal, and ratios to the disabled side."""
    medians = {
        side: statistics.median(r["seconds"] for r in rows) for side, rows in results.items()
    }
    digests = {row["results"] for rows in results.values() for row in rows}
    return {
        "seconds": medians,
        "range": {
            side: [min(r["seconds"] for r in rows), max(r["seconds"] for r in rows)]
            for side, rows in results.items()
        },
        "results_equal": len(digests) == 1,
        "warnings": {side: rows[-1]["warnings"] for side, rows in results.items()},
        "wandb_bytes": {side: rows[-1]["wandb_bytes"] for side, rows in results.items()},
        **{
            f"seconds_{side}_more": round(medians[side] - medians["disabled"], 2)
            for side in results
            if side != "disabled"
        },
        **{
            f"ratio_{side}_to_disabled": round(medians[side] / medians["disabled"], 3)
            for side in results
            if side != "disabled"
        },
    }


def main() -> None:
    """Measure the sides in turns and print the figures."""
    parser = argparse.ArgumentParser(description="what a dead W&B costs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--until", default="report", help="last phase, such as questions")
    parser.add_argument("--only", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("overrides", nargs="*", help="dotted.path=value of the config")
    options = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {
        side: [] for side in SIDES if side == "disabled" or side in options.only
    }
    for round_number in range(options.rounds):
        for side, rows in results.items():
            rows.append(run_side(side, options.until, options.overrides))
            print(f"round {round_number}, {side}: {rows[-1]}", flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"benchmark": "tracking", "machine": machine, "figures": summary(results)}))


if __name__ == "__main__":
    main()
