"""Compare runs on S3 and on a disk: ``python -m benchmarks.object_store [CONFIG] [key=value ...]``.

The config, by default the smoke config, runs three times: on a local disk, on an S3 server on the
loopback address, and on the S3 server again while the server is stopped for some seconds in every phase
that computes. A run that fails is started again. Needs ``moto[server]``.

The benchmark prints the seconds on disk and on S3, the comparison of both S3 storages with the disk,
table by table, and the phases in which the server was stopped. The last line is one JSON object.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.fs as pafs

from benchmarks.kills import compare
from benchmarks.object_server import KEYS, ObjectServer, object_server

CONFIG = "configs/smoke.yaml"
OVERRIDES = ("teacher={kind: reference}", "evaluation.backend=transformers")
"""Default overrides of the default config: without vLLM engines, a run takes about a minute."""
PHASES = ("weigh", "assess", "train", "evaluate")
DELAY_SECONDS = 3.0
"""Seconds from the start of a phase until the server is stopped."""
AWAY_SECONDS = 20.0
"""Seconds for which the server is stopped."""
MOST_RUNS = 5


def start(
    config: str, storage: str, overrides: Sequence[str], environment: Mapping[str, str]
) -> subprocess.Popen[str]:
    """Start ``kpod run`` in a process with a Ray of its own."""
    settings = [config, f"storage={storage}", *overrides]
    return subprocess.Popen(
        [sys.executable, "-m", "kpod_ray", "run", *settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "RAY_ADDRESS": "local", "PYTHONUNBUFFERED": "1", **environment},
    )


def timed(process: subprocess.Popen[str]) -> float:
    """Wait until a run has ended; return the seconds of the wait.

    Raises:
        SystemExit: The exit status of the run isn't 0.
    """
    started = time.perf_counter()
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(output)
    return time.perf_counter() - started


def run_with_gaps(
    config: str, storage: str, overrides: Sequence[str], server: ObjectServer
) -> tuple[list[str], list[str]]:
    """Start a run again and again until one succeeds; stop the server once in each phase.

    Returns:
        The phases in which the server was stopped, and the last line of output of every failed run.

    Raises:
        SystemExit: `MOST_RUNS` runs failed.
    """
    away, failures = list[str](), list[str]()
    while len(failures) < MOST_RUNS:
        lines = list[str]()
        process = start(config, storage, overrides, server.environment)
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.strip())
            phase = line.strip().removesuffix(" ...")
            if phase in PHASES and phase not in away:
                away.append(phase)
                time.sleep(DELAY_SECONDS)
                server.tell("stop")
                time.sleep(AWAY_SECONDS)
                server.tell("start")
        if process.wait() == 0:
            return away, failures
        failures.append(lines[-1] if lines else "")
        print(f"ended by: {failures[-1]}", flush=True)
    raise SystemExit(f"{MOST_RUNS} runs failed")


def fetched(server: ObjectServer, bucket: str, folder: Path) -> Path:
    """Copy a bucket to a local folder; return the folder."""
    source = pafs.S3FileSystem(
        access_key=KEYS["AWS_ACCESS_KEY_ID"],
        secret_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=server.environment["AWS_ENDPOINT_URL"].removeprefix("http://"),
        scheme="http",
        region="us-east-1",
    )
    pafs.copy_files(bucket, str(folder), source_filesystem=source)
    return folder


def main(config: str = CONFIG, *overrides: str) -> None:
    """Run the benchmark and print its figures."""
    settings = overrides or (OVERRIDES if config == CONFIG else ())
    with tempfile.TemporaryDirectory() as name, object_server() as server:
        root = Path(name)
        for bucket in ("steady", "shaky"):
            server.tell(f"bucket {bucket}")
        on_disk = timed(start(config, str(root / "disk"), settings, {}))
        on_s3 = timed(start(config, "s3://steady", settings, server.environment))
        away, failures = run_with_gaps(config, "s3://shaky", settings, server)
        figures = {
            "seconds_on_disk": round(on_disk, 1),
            "seconds_on_s3": round(on_s3, 1),
            "s3_against_disk": compare(root / "disk", fetched(server, "steady", root / "steady")),
            "server_away_in": away,
            "seconds_away_each": AWAY_SECONDS,
            "runs_ended_by_it": failures,
            "shaky_against_disk": compare(root / "disk", fetched(server, "shaky", root / "shaky")),
        }
    for key, value in figures.items():
        print(f"{key}: {value}")
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"benchmark": "object_store", "machine": machine, "figures": figures}))


if __name__ == "__main__":
    main(*sys.argv[1:])
