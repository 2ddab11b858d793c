"""End runs in every way, at random times: ``python -m benchmarks.chaos [--num 100] [--seed 0]``.

The smoke config runs untouched, once with a vLLM teacher and once with an endpoint. Each trial draws a
way to end a run (a signal to the driver, a worker, an actor or an engine, a full or a read-only disk, a
second run, a flipped byte in a finished artifact) and a time, uniformly over the untouched run (for
workers, actors and engines: over the phases that have them). Afterwards ``kpod run`` must go on and give
the tables and the student of the untouched run, or a line must name what is damaged and the mend, with
no process and no file left behind.

To spare time, a trial starts from a copy of the untouched storage with the phases before the drawn time
finished, and goes on to the end of the phase that was hit: later phases depend on the compared files
alone. A trial needs about a minute. The results are appended to a file, from which the same command goes
on with the trials that are missing.

Trials run in mount, network and PID namespaces of their own, which needs root, and Linux's ``unshare``
and ``ip``; so two commands with different seeds and folders can run at the same time. The
benchmark prints a line for each trial and a summary; the exit status is 1 if a trial failed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.chaos_faults import TARGETS, Trial
from benchmarks.chaos_run import VARIANTS

SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
KINDS = [
    *(f"{name} {target}" for name in SIGNALS for target in ("driver", *TARGETS)),
    *("full disk", "read-only disk", "second run", "flipped byte"),
]
"""The ways to end a run, drawn with equal probability."""
PHASES_OF = {
    "worker": ("weigh", "train"),
    "engine": ("teacher", "evaluate_before", "evaluate"),
    "actor": ("teacher", "weigh", "assess", "train", "evaluate_before", "evaluate"),
    "flipped byte": ("teacher", "weigh", "assess", "plan", "train", "evaluate_before", "evaluate"),
}
"""Target or kind -> phases in which there is one; all others have all phases."""
LEAST_SECONDS = 120.0
RUN_FACTOR = 2
"""A run of a trial hangs if it takes this many times as long as the untouched run, which has all
phases, and at least `LEAST_SECONDS`."""
TRIAL_SECONDS = 3600
"""Time after which a whole trial is given up."""


def draw(index: int, seed: int, work: Path) -> Trial:
    """Draw a trial; the same for the same number, seed and times of the untouched run."""
    rng = random.Random(f"{seed} {index}")
    kind = rng.choice(KINDS)
    target = kind.split()[-1] if kind.startswith("SIG") else kind
    variant = "vllm" if target == "engine" else rng.choice(list(VARIANTS))
    times = untouched(variant, work)
    starts = {**times["starts"], "": times["total"]}
    spans = list(zip(starts, starts.values(), list(starts.values())[1:], strict=False))
    spans = [span for span in spans if span[0] in PHASES_OF.get(target, starts)]
    offset = rng.uniform(0, sum(end - start for _, start, end in spans))
    while offset > spans[0][2] - spans[0][1]:
        offset -= spans[0][2] - spans[0][1]
        del spans[0]
    phase, start, _ = spans[0]
    return Trial(
        index=index,
        variant=variant,
        kind=kind,
        seconds=round(start + offset, 2),
        phase=phase,
        offset=round(offset, 2),
        seed=rng.randrange(2**32),
        most_seconds=max(LEAST_SECONDS, RUN_FACTOR * times["total"]),
    )


def isolated(arguments: Sequence[str]) -> dict[str, Any]:
    """Run `benchmarks.chaos_trial` in namespaces of its own; return what it prints.

    Raises:
        RuntimeError: The program failed.
    """
    program = [sys.executable, "-m", "benchmarks.chaos_trial", *arguments]
    # The shell is the namespace's init: it waits for the orphans, too, which would stay as zombies.
    init = ["sh", "-c", '"$@"; exit $?', "init"]
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
    done = subprocess.run(
        [*command, *init, *program],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=TRIAL_SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {done.stdout[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def untouched(variant: str, work: Path) -> dict[str, Any]:
    """Return the times of the untouched run of a variant, which runs unless it did before."""
    file = work / variant / "times.json"
    if not file.exists():
        (work / variant).mkdir(parents=True, exist_ok=True)
        print(f"untouched run: {variant}", flush=True)
        file.write_text(json.dumps(isolated(["reference", variant, str(work / variant)])))
    times: dict[str, Any] = json.loads(file.read_text())
    return times


def attempt(trial: Trial, work: Path) -> dict[str, Any]:
    """Run a trial; a trial that breaks the benchmark itself is a failure, too."""
    arguments = ["trial", json.dumps(dataclasses.asdict(trial)), str(work / trial.variant)]
    try:
        result = isolated(arguments)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        result = {"hit": "?", "rc": [], "is_good": False, "outcome": f"benchmark: {error}"}
    return {**dataclasses.asdict(trial), **result}


def row(result: Mapping[str, Any]) -> str:
    """Return the line of a trial in the table."""
    return (
        f"{result['index']:4}  {result['variant']:8}  {result['kind']:15}  "
        f"{result['seconds']:6.1f} s  {result['phase']:15}  {result['rc']!s:10}  "
        f"{'ok' if result['is_good'] else 'FAILED'}: {result['outcome']} "
        f"[{result['hit']}, {result.get('trial_seconds', 0):.0f} s]"
    )


def main() -> None:
    """Run the trials that are missing in the file of results; print the table and a summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/kpod-chaos"))
    parser.add_argument("--most", type=int, help="trials to run in this session")
    options = parser.parse_args()
    work = options.work.resolve()
    file = work / f"results-{options.seed}.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    results = {row["index"]: row for row in map(json.loads, lines)}
    missing = [index for index in range(options.num) if index not in results]
    print(f"seed {options.seed}, {len(results)} trials are in {file}", flush=True)
    for index in missing[: options.most]:
        started = time.monotonic()
        results[index] = attempt(draw(index, options.seed, work), work)
        results[index].setdefault("trial_seconds", round(time.monotonic() - started, 1))
        with open(file, "a") as stream:
            stream.write(json.dumps(results[index]) + "\n")
        print(row(results[index]), flush=True)
    summary = Counter((r["kind"], "ok" if r["is_good"] else "FAILED") for r in results.values())
    for (kind, outcome), count in sorted(summary.items()):
        print(f"{kind:15}  {outcome}: {count}")
    num_bad = sum(not result["is_good"] for result in results.values())
    num_idle = sum(result["hit"] == "nothing" for result in results.values())
    figures = {
        "seed": options.seed,
        "trials": len(results),
        "failed": num_bad,
        "hit_nothing": num_idle,
    }
    print(json.dumps({"benchmark": "chaos", "figures": figures}))
    sys.exit(bool(num_bad))


if __name__ == "__main__":
    main()
