"""Stop and resubmit Ray jobs on a cluster with two groups of nodes: ``python -m benchmarks.jobs``.

The benchmark starts a head without CPUs and two nodes with the labels ``group=teacher`` and
``group=student`` on this machine, with token authentication. Then jobs/run.py, jobs/sweep.py and
jobs/compare.py are submitted from this clone with ``ray job submit``, all with the same storage. Each
job is stopped in the middle of a training and submitted again.

For each job, the benchmark prints the seconds of both submissions, the number of artifacts and how many
were made twice, and how many stages of the stopped training were kept. It also prints the HTTP status
for a wrong token, the number of files that hold the token, the uploaded files, and the nodes of each
phase. The last line is one JSON object.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.local_groups import LocalGroups, local_groups

PLACED = (
    "resources.teacher={labels: {group: teacher}}",
    *(
        f"resources.{phase}={{labels: {{group: student}}, num_threads: 1}}"
        for phase in ("weighting", "apply_weighter", "assess", "evaluate")
    ),
    "resources.train={labels: {group: student}, num_threads: 1, num_workers: 1}",
    "schedule.num_stages=12",  # the training outlasts the stop by far
    "evaluation.backend=transformers",
)
"""Overrides that place the teacher on one group and everything else on the other."""
MOST_SECONDS = 1800.0
"""Timeout of one wait for a training."""
MADE = "*/*/manifest.json"
STAGES = "train/*/step_losses/*.parquet"
Times = dict[Path, int]
"""Path of a file -> time of its last change, in nanoseconds."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One job, and the training in which it is stopped."""

    name: str
    config: str
    overrides: tuple[str, ...]
    num_trained: int
    """Trainings of this job that are finished before the training in which the job is stopped."""


CASES = (
    Case("run", "configs/smoke.yaml", (), 0),
    Case(
        "sweep",
        "configs/sweep-smoke.yaml",
        ("sweep.num_trials=2", "sweep.max_concurrent=1", "sweep.early_stopping=none"),
        1,
    ),
    Case(
        "compare",
        "configs/comparison/compare-smoke.yaml",
        (
            "comparison.arms=[uniform, kpod]",
            "comparison.num_seeds=1",
            "comparison.max_concurrent=1",
        ),
        1,
    ),
)


def measure(case: Case, cluster: LocalGroups, storage: Path) -> dict[str, Any]:
    """Submit a job, stop it in the middle of a training, submit it again; return its figures."""
    overrides = [f"storage={storage}", *PLACED, *case.overrides]
    job = ["--", "python", f"jobs/{case.name}.py", case.config, *overrides]
    started, num_before = time.perf_counter(), num_trained(times(storage, MADE))
    ended_well(cluster.submit("--no-wait", f"--submission-id={case.name}", *job))
    wait_for_training(storage, num_before + case.num_trained, cluster, case.name)
    status = cluster.stop(case.name)
    stopped, manifests, stages = time.perf_counter(), times(storage, MADE), times(storage, STAGES)
    ended_well(cluster.submit(*job))
    ended, after, stages_after = time.perf_counter(), times(storage, MADE), times(storage, STAGES)
    return {
        "first": status,
        "seconds_until_stopped": round(stopped - started, 1),
        "seconds_of_the_second": round(ended - stopped, 1),
        "artifacts_when_stopped": len(manifests),
        "artifacts_made_again": sum(after[path] != when for path, when in manifests.items()),
        "artifacts_at_the_end": len(after),
        "stages_of_the_stopped_training": len(under_way(stages, manifests)),
        "stages_kept": sum(
            stages_after[path] == when for path, when in under_way(stages, manifests).items()
        ),
    }


def times(storage: Path, pattern: str) -> Times:
    """Return the times of the files in a storage that match a glob pattern."""
    return {path: path.stat().st_mtime_ns for path in storage.glob(pattern)}


def under_way(stages: Times, manifests: Times) -> Times:
    """Return the stage files of trainings without a manifest: trainings that aren't finished."""
    return {
        path: when
        for path, when in stages.items()
        if path.parents[1] / "manifest.json" not in manifests
    }


def num_trained(manifests: Times) -> int:
    """Return the number of finished trainings."""
    return sum(path.parts[-3] == "train" for path in manifests)


def wait_for_training(storage: Path, num_finished: int, cluster: LocalGroups, job: str) -> None:
    """Wait until an unfinished training has at least two finished stages.

    Args:
        storage: folder of the storage.
        num_finished: number of trainings that must be finished before.
        cluster: runs the job.
        job: submission id of the job.

    Raises:
        SystemExit: The wait took longer than `MOST_SECONDS`, or the job ended before.
    """
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline:
        manifests = times(storage, MADE)
        stages = under_way(times(storage, STAGES), manifests)
        if num_trained(manifests) == num_finished and len(stages) >= 2:
            return
        if cluster.ask("GET", job).json()["status"] not in ("PENDING", "RUNNING"):
            break
        time.sleep(0.1)
    raise SystemExit(cluster.ask("GET", f"{job}/logs").text)


def ended_well(done: tuple[int, str]) -> None:
    """Check the exit status of ``ray job submit``.

    Args:
        done: exit status and output of the command.

    Raises:
        SystemExit: The exit status isn't 0.
    """
    status, printed = done
    if status:
        raise SystemExit(printed)


def nodes_by_phase(storage: Path) -> dict[str, dict[str, list[str]]]:
    """Return the ids of the nodes that each phase ran on: phase -> labels of a node -> sorted ids."""
    found = defaultdict[str, dict[str, list[str]]](dict)
    for path in storage.glob(MADE):
        phase = path.parts[-3]
        manifest = json.loads(path.read_text())
        for node in manifest.get("nodes", []):
            label = ", ".join(f"{key}={value}" for key, value in node["labels"].items())
            ids = found[phase].setdefault(label, [])
            found[phase][label] = sorted({*ids, node["id"]})
    return dict(found)


def num_with(text: str, *folders: Path) -> int:
    """Return the number of files in folders that contain a text."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return sum(text.encode() in path.read_bytes() for path in files)


def main() -> None:
    """Run the benchmark and print its figures."""
    with tempfile.TemporaryDirectory() as name, local_groups({"teacher": 2, "student": 3}) as ray:
        root = Path(name)
        figures: dict[str, Any] = {
            "status_for_a_wrong_token": ray.ask("GET", token="f" * 64).status_code
        }
        for case in CASES:
            figures[case.name] = measure(case, ray, root)
            print(f"{case.name}: {figures[case.name]}", flush=True)
        uploaded = ray.uploaded()
        figures["uploaded_files"], figures["uploaded_bytes"] = len(uploaded), sum(uploaded.values())
        figures["files_with_the_token"] = num_with(ray.token, root, ray.folder)
        figures["nodes"] = nodes_by_phase(root)
    for key in [key for key in figures if key not in {case.name for case in CASES}]:
        print(f"{key}: {figures[key]}")
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"benchmark": "jobs", "machine": machine, "figures": figures}))


if __name__ == "__main__":
    main()
