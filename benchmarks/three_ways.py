"""Run a config in three ways and compare: ``python -m benchmarks.three_ways [CONFIG] [key=value ...]``.

The config, by default the smoke config with its vLLM engines, runs all phases

1. on a Ray of its own, as ``kpod run`` on a laptop does,
2. as a job: ``ray start --head`` and ``ray job submit``,
3. on a head without CPUs and two nodes, the teacher on one node and everything else on the other.

Each way has a storage of its own and requires a token. For every table and for the student, the
benchmark prints the number of rows (of tensors), how many differ from the first way, and the largest
difference of a number. The last line is one JSON object, with the seconds and the number of nodes of
each way. The exit status is 1 if anything differs.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from safetensors.numpy import load_file

from benchmarks.jobs import nodes_by_phase
from benchmarks.kills import TABLES, artifacts
from benchmarks.local_groups import REPOSITORY, local_groups

CONFIG = "configs/smoke.yaml"
NUM_CPUS = 4
THREADS = {"OMP_NUM_THREADS": "1"}
"""A driver and its tasks add numbers in the same order in all ways."""
PLACED = (
    "resources.teacher={labels: {group: teacher}}",
    *(
        f"resources.{phase}={{labels: {{group: student}}}}"
        for phase in ("weighting", "apply_weighter", "assess", "train", "evaluate")
    ),
)
"""Overrides that place the teacher on one node and everything else on the other."""
ALL_TABLES = (*TABLES, ("evaluate_before", "predictions", "question_id"))


def run(settings: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run ``kpod run`` in a process.

    Raises:
        SystemExit: The exit status of the run isn't 0.
    """
    done = subprocess.run(
        [sys.executable, "-m", "kpod_ray", "run", *settings],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def on_a_laptop(settings: Sequence[str]) -> None:
    """Run on a Ray that the run starts itself."""
    run(settings, {**os.environ, **THREADS, "RAY_ADDRESS": "local"})


def as_a_job(settings: Sequence[str]) -> None:
    """Run as a job on a cluster of one machine.

    Raises:
        SystemExit: The job failed.
    """
    with local_groups({}, num_head_cpus=NUM_CPUS) as cluster:
        status, printed = cluster.submit("--", "python", "jobs/run.py", *settings)
    if status:
        raise SystemExit(printed)


def on_several_nodes(settings: Sequence[str]) -> None:
    """Run on a cluster of three nodes, from a driver that joins the cluster."""
    path = {"PYTHONPATH": str(REPOSITORY)}
    with local_groups({"teacher": NUM_CPUS, "student": NUM_CPUS}, path) as cluster:
        address = {"RAY_ADDRESS": cluster.driver_address}
        run([*settings, *PLACED], {**cluster.environment, **address})


WAYS = {"laptop": on_a_laptop, "job": as_a_job, "nodes": on_several_nodes}


def differences(first: pa.Table, second: pa.Table, key: str) -> tuple[int, float]:
    """Compare two tables row by row, in the order of a column.

    Returns:
        The number of rows that differ or are in one table only, and the largest absolute difference of
        a number that both have in the same place.
    """
    if first.schema != second.schema:
        return max(first.num_rows, second.num_rows), float("inf")
    rows = [table.sort_by(key).to_pylist() for table in (first, second)]
    num_different = sum(one != other for one, other in zip(*rows, strict=False))
    missing = abs(first.num_rows - second.num_rows)
    pairs = zip(_numbers(rows[0]), _numbers(rows[1]), strict=False)
    return num_different + missing, max((abs(one - other) for one, other in pairs), default=0.0)


def _numbers(value: Any) -> Iterator[float]:
    """Return all numbers in nested lists and mappings, in order."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, int | float):
        yield float(value)


def compare(first: Path, second: Path) -> Iterator[tuple[str, int, int, float]]:
    """Compare two storages; yield a name, the number of rows, and what `differences` returns."""
    folders = artifacts(first), artifacts(second)
    for phase, name, key in ALL_TABLES:
        tables = [pq.read_table(folder[phase] / f"{name}.parquet") for folder in folders]
        yield f"{phase}/{name}", tables[0].num_rows, *differences(tables[0], tables[1], key)
    students = [load_file(folder["train"] / "student/model.safetensors") for folder in folders]
    names = students[0].keys() | students[1].keys()
    shared = students[0].keys() & students[1].keys()
    largest = [float(np.abs(students[0][name] - students[1][name]).max()) for name in shared]
    num_different = len(names - shared) + sum(value != 0 for value in largest)
    yield "student's parameters", len(names), num_different, max(largest)


def num_nodes(storage: Path) -> int:
    """Return the number of nodes that the phases ran on."""
    groups = (ids for labels in nodes_by_phase(storage).values() for ids in labels.values())
    return len({node for ids in groups for node in ids})


def main(config: str = CONFIG, *overrides: str) -> None:
    """Run the benchmark and print its figures.

    Raises:
        SystemExit: A run failed, or something differs (exit status 1).
    """
    figures: dict[str, Any] = {"seconds": {}, "nodes": {}, "differences": {}}
    with tempfile.TemporaryDirectory() as name:
        storages = {way: Path(name) / way for way in WAYS}
        for way, start in WAYS.items():
            started = time.perf_counter()
            start([config, f"storage={storages[way]}", *overrides])
            figures["seconds"][way] = round(time.perf_counter() - started, 1)
            phases = nodes_by_phase(storages[way]).values()
            figures["nodes"][way] = len(
                {i for nodes in phases for ids in nodes.values() for i in ids}
            )
            print(f"{way}: {figures['seconds'][way]} s", flush=True)
        table = Table("", "rows", *(f"{way}: differ, largest" for way in WAYS if way != "laptop"))
        compared = [list(compare(storages["laptop"], storages[way])) for way in ("job", "nodes")]
        for job, nodes in zip(*compared, strict=True):
            cells = [f"{found[2]}, {found[3]:.3g}" for found in (job, nodes)]
            table.add_row(job[0], str(job[1]), *cells)
            figures["differences"][job[0]] = [found[2] for found in (job, nodes)]
    Console(width=100).print(table)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"benchmark": "three_ways", "machine": machine, "figures": figures}))
    if any(map(any, figures["differences"].values())) or figures["nodes"]["nodes"] < 2:
        raise SystemExit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
