"""A run on an S3 server against one on a disk: ``python -m benchmarks.object_store``.

Runs the config on a local disk, then on an S3 server in a process of its own on the loopback address,
then on it again while the server is away for some seconds in every phase that computes. What came out
is compared, table by table. The last line is one JSON object. Needs ``moto[server]``.
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
"""What the config is run with unless other settings are given: no engine, so that it takes a minute."""
PHASES = ("weigh", "assess", "train", "evaluate")
DELAY_SECONDS, AWAY_SECONDS, MOST_RUNS = 3.0, 20.0, 5


def start(
    config: str, storage: str, overrides: Sequence[str], environment: Mapping[str, str]
) -> subprocess.Popen[str]:
    """Start ``kpod run`` as a process of its own."""
    settings = [config, f"storage={storage}", *overrides]
    return subprocess.Popen(
        [sys.executable, "-m", "kpod_ray", "run", *settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "RAY_ADDRESS": "local", "PYTHONUNBUFFERED": "1", **environment},
    )


def timed(process: subprocess.Popen[str]) -> float:
    """Wait for a run to end well; return its seconds."""
    started = time.perf_counter()
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(output)
    return time.perf_counter() - started


def run_with_gaps(
    config: str, storage: str, overrides: Sequence[str], server: ObjectServer
) -> tuple[list[str], list[str]]:
    """Run until a run ends well; take the server away once in each phase.

    Returns:
        The phases it was away in, and the last line of every run that didn't end well.
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
    """Copy a bucket to a local folder."""
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
    """Run the measurement and print it."""
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
