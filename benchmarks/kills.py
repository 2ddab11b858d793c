"""Kill a run in every phase and resume it: ``python -m benchmarks.kills [CONFIG] [key=value ...]``.

The config, by default ``configs/smoke.yaml``, runs once without kills. In a second storage, the driver
gets SIGKILL some seconds after each phase has started and is started again. Then both storages are
compared: rows and ids of every table, and the parameters of the students.

The benchmark prints the phases in which the driver was killed and the result of the comparison. The
last line is one JSON object.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file

PHASES = ("questions", "teacher", "weigh", "assess", "plan", "train", "evaluate_before", "evaluate")
# Seconds from the start of a phase to the kill, chosen to fall into generation, training or streaming.
# The two phases that take less than a second are killed at their start.
DELAYS = {"questions": 0.0, "teacher": 25.0, "weigh": 20.0, "assess": 8.0, "plan": 0.0} | {
    "train": 18.0,
    "evaluate_before": 25.0,
    "evaluate": 25.0,
}
TABLES = (
    ("questions", "questions", "id"),
    ("teacher", "rationales", "id"),
    ("teacher", "rejects", "id"),
    ("weigh", "weighted", "question_id"),
    ("assess", "difficulties", "question_id"),
    ("plan", "schedule", "question_id"),
    ("evaluate", "predictions", "question_id"),
)


def start(config: str, storage: Path, overrides: list[str]) -> subprocess.Popen[str]:
    """Start ``kpod run`` in a process with a Ray of its own."""
    command = [
        sys.executable,
        "-m",
        "kpod_ray",
        "run",
        config,
        f"storage={storage}",
        *overrides,
    ]
    environment = {**os.environ, "RAY_ADDRESS": "local", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def kill_in(phase: str, process: subprocess.Popen[str]) -> bool:
    """Kill a run some seconds after it has printed the start of a phase.

    Returns:
        Whether the run was killed; False if the run ended before.
    """
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == f"{phase} ...":
            time.sleep(DELAYS[phase])
            if process.poll() is not None:
                return False
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
    process.wait()
    return False


def finish(process: subprocess.Popen[str]) -> None:
    """Wait until a run has ended.

    Raises:
        SystemExit: The exit status of the run isn't 0.
    """
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(output)


def artifacts(storage: Path) -> dict[str, Path]:
    """Return the folders of the artifacts of the only run in a storage, by name."""
    (run,) = (storage / "runs").iterdir()
    folders = json.loads((run / "artifacts.json").read_text())["folders"]
    return {name: storage / folder for name, folder in folders.items()}


def compare(untouched: Path, killed: Path) -> dict[str, object]:
    """Compare two storages: rows and ids of every table, and the parameters of the students."""
    first, second = artifacts(untouched), artifacts(killed)
    rows: dict[str, list[int]] = {}
    equal_ids = True
    equal_rows = True
    for phase, name, key in TABLES:
        tables = [pq.read_table(folder[phase] / f"{name}.parquet") for folder in (first, second)]
        ids = [sorted(table[key].to_pylist()) for table in tables]
        rows[name] = [table.num_rows for table in tables]
        equal_ids &= ids[0] == ids[1]
        equal_rows &= tables[0].equals(tables[1])
    students = [load_file(f["train"] / "student/model.safetensors") for f in (first, second)]
    difference = max(float(np.abs(students[0][k] - students[1][k]).max()) for k in students[0])
    return {
        "rows_untouched_and_killed": rows,
        "ids_equal": equal_ids,
        "tables_equal": equal_rows,
        "largest_parameter_difference": difference,
    }


def main(config: str = "configs/smoke.yaml", *overrides: str) -> None:
    """Run the benchmark and print its figures."""
    with tempfile.TemporaryDirectory() as name:
        untouched, killed = Path(name) / "untouched", Path(name) / "killed"
        finish(start(config, untouched, list(overrides)))
        killed_in = []
        for phase in PHASES:
            if kill_in(phase, start(config, killed, list(overrides))):
                killed_in.append(phase)
                print(f"killed in {phase}", flush=True)
        finish(start(config, killed, list(overrides)))
        figures = {"killed_in": killed_in, **compare(untouched, killed)}
    for key, value in figures.items():
        print(f"{key}: {value}")
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"benchmark": "kills", "machine": machine, "figures": figures}))


if __name__ == "__main__":
    main(*sys.argv[1:])
