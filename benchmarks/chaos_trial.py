"""One trial of `benchmarks.chaos`, or its untouched run: a program that runs in namespaces of its own.

`benchmarks.chaos` starts the program in new mount, network and PID namespaces. Its /tmp, its /dev/shm
and the disk of the storage are its own, so that everything that is found there afterwards, and every
process, was left by the run. The program prints one JSON object.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.chaos_faults import Trial, fault, mend_disk
from benchmarks.chaos_run import Run, answering, left_files, left_processes
from benchmarks.kills import artifacts
from benchmarks.stored_runs import differences

DISK_MIB = 192
"""Size of the storage's disk; the artifacts of the smoke config take a tenth of it."""
UNTOUCHED_SECONDS = 1800


def reference(variant: str, folder: Path) -> dict[str, Any]:
    """Run without an end, store the storage in a folder; return start times of the phases."""
    storage = own_disks(folder)
    with answering():
        run = Run(variant, storage, "report")
        if run.end(UNTOUCHED_SECONDS) != 0:
            raise SystemExit(f"the untouched run failed:\n{run.text}")
    starts = {"start": 0.0}
    for at, line in run.lines:
        if match := re.fullmatch(r"(\w+) \.\.\.", line):
            starts[match[1]] = at
    total = time.monotonic() - run.started
    shutil.copytree(storage, folder / "storage", dirs_exist_ok=True)
    return {"starts": starts, "total": total}


def carry_out(trial: Trial, folder: Path) -> dict[str, Any]:
    """Run a trial; ``folder`` is that of the untouched run."""
    storage = own_disks(folder)
    until = trial.phase.removesuffix("_before")
    until = {"start": "teacher", "questions": "teacher", "evaluate": "report"}.get(until, until)
    prepare(storage, folder / "storage", trial.phase)
    started = time.monotonic()
    with answering():
        first = Run(trial.variant, storage, until)
        hit, also = "nothing", list[Run]()
        if first.wait_for(trial.phase):
            time.sleep(trial.offset)
            hit = fault(trial, first, storage, also)
        statuses = [run.end(trial.most_seconds) for run in (first, *also)]
        texts = [run.text for run in (first, *also)]
        faults = judged_end(trial.kind, hit, statuses)
        if trial.kind != "SIGKILL driver":  # its leavings are removed by the next start
            faults += left_processes()
        mend_disk(storage)
        more, mended = go_on(trial, storage, folder / "storage", until, texts)
    faults += more
    faults += [f"traceback in run {i}" for i, text in enumerate(texts) if "Traceback (most" in text]
    faults += left_processes() + left_files()
    return {
        "hit": hit,
        "rc": statuses,
        "outcome": "; ".join(faults) or ("mended as it says" if mended else "equal"),
        "is_good": not faults,
        "trial_seconds": round(time.monotonic() - started, 1),
        "output": texts if faults else [],
    }


def own_disks(folder: Path) -> Path:
    """Start the loopback, mount /tmp, /dev/shm and a small disk for the storage; return the storage."""
    tmp = folder / "tmp"
    shutil.rmtree(tmp, ignore_errors=True)
    tmp.mkdir(parents=True)
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    for command in (
        ["ip", "link", "set", "lo", "up"],
        ["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"],
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(disk)],
        ["mount", "--bind", str(tmp), "/tmp"],
    ):
        subprocess.run(command, check=True)
    storage = disk / "storage"
    storage.mkdir()
    return storage


def prepare(storage: Path, source: Path, phase: str) -> None:
    """Copy the untouched storage, without the artifact of the phase and all later ones."""
    shutil.copytree(source, storage, dirs_exist_ok=True)
    folders = list(artifacts(storage).items())
    first = 0 if phase == "start" else [name for name, _ in folders].index(phase)
    for _, folder in folders[first:]:
        shutil.rmtree(folder, ignore_errors=True)
    if phase in ("start", "questions", "teacher"):
        shutil.rmtree(storage / "completions", ignore_errors=True)
    shutil.rmtree(storage / "runs")


def judged_end(kind: str, hit: str, statuses: Sequence[int | None]) -> list[str]:
    """Return what is wrong with the exit statuses of the runs that were ended."""
    if None in statuses:
        return ["no end in time"]
    expected = {
        "SIGKILL driver": [-signal.SIGKILL],
        "SIGTERM driver": [128 + signal.SIGTERM],
        "SIGINT driver": [128 + signal.SIGINT],
        "second run": [0, 0],
    }.get(kind)
    if hit == "nothing" or expected is None or list(statuses) == expected:
        return []
    return [f"exit {statuses} instead of {expected}"]


def go_on(
    trial: Trial, storage: Path, source: Path, until: str, texts: list[str]
) -> tuple[list[str], bool]:
    """Go on after the fault, apply the mend that a line names, and compare with the untouched run.

    Returns:
        What is wrong, and whether something damaged had to be mended.
    """
    mended = False
    for _ in range(3):
        run = Run(trial.variant, storage, until)
        status = run.end(trial.most_seconds)
        texts.append(run.text)
        damaged = None
        if trial.kind == "flipped byte":
            damaged = named_damage(storage, [*texts, doctor(storage)] if not mended else texts[-1:])
        if damaged is None and status == 0:
            break
        if damaged is not None:
            shutil.rmtree(damaged, ignore_errors=True)
            mended = True
    else:
        return [f"three more runs ended with {status}"], mended
    found = differences(source, storage)
    return [f"differs: {', '.join(found)}"] if found else [], mended


def named_damage(storage: Path, texts: Sequence[str]) -> Path | None:
    """Return the folder that a message says to delete."""
    for text in texts:
        for name in re.findall(r"delete (?:the )?(?:folder )?(\S+?)[,;:.]?(?:\s|$)", text):
            path = storage / name
            if path != storage and path.is_relative_to(storage) and path.exists():
                return path
    return None


def doctor(storage: Path) -> str:
    """Return what ``kpod doctor`` says about the run's files."""
    (run,) = (storage / "runs").iterdir()
    command = [sys.executable, "-m", "kpod_ray", "doctor", str(run)]
    environment = {**os.environ, "COLUMNS": "1000"}  # no path is broken into lines
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.stdout + done.stderr


def main() -> None:
    """Run what the arguments say: ``reference VARIANT FOLDER`` or ``trial JSON FOLDER``."""
    action, what, folder = sys.argv[1:]
    if action == "reference":
        result = reference(what, Path(folder))
    else:
        result = carry_out(Trial(**json.loads(what)), Path(folder))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
