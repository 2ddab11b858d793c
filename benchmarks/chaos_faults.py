"""The ways in which `benchmarks.chaos` ends runs."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil

from benchmarks.chaos_run import Run, command_line

TARGETS = {
    "worker": r"ray::RayTrainWorker",
    "engine": r"ray::MapWorker\(MapBatches\(GenerationActor\)\)",
    "actor": r"ray::(?!IDLE)",
}
"""Target of a signal -> pattern of the beginning of its command line; the driver is the run itself."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """What happens to a run, and when."""

    index: int
    variant: str
    kind: str
    """Such as ``SIGKILL driver`` or ``full disk``."""
    seconds: float
    """Drawn time since the start of an untouched run."""
    phase: str
    """Artifact that an untouched run was making at this time, or ``start``."""
    offset: float
    """Seconds from the start of this phase to the drawn time."""
    seed: int
    most_seconds: float
    """Time after which a run counts as hanging."""


def fault(trial: Trial, run: Run, storage: Path, also: list[Run]) -> str:
    """Do what the trial is about; return what was hit."""
    rng = random.Random(trial.seed)
    if trial.kind == "full disk":
        with contextlib.suppress(OSError), open(storage.parent / "filler", "wb", 0) as file:
            while True:
                file.write(bytes(1 << 20))
        with contextlib.suppress(OSError), open(storage.parent / "filler", "ab", 0) as file:
            while True:
                file.write(bytes(512))
        return "disk"
    if trial.kind == "read-only disk":
        return "disk" if remount(storage.parent, "ro") else "nothing"
    if trial.kind == "second run":
        also.append(Run(trial.variant, storage, run.until))
        return "storage"
    if trial.kind == "flipped byte":
        return flip(storage, rng)
    name, target = trial.kind.split()
    victim = find(target, run, rng)
    with contextlib.suppress(psutil.Error):  # it ended by itself just now
        if victim is not None:
            label = command_line(victim)
            victim.send_signal(getattr(signal, name))
            return label
    return "nothing"


def remount(disk: Path, mode: str) -> bool:
    """Make a disk read-only or writable; return False if a file stays open for writing."""
    for _ in range(100):
        command = ["mount", "-o", f"remount,{mode}", str(disk)]
        if not subprocess.run(command, capture_output=True, check=False).returncode:
            return True
        time.sleep(0.1)
    return False


def flip(storage: Path, rng: random.Random) -> str:
    """Flip one bit in a file of a finished artifact; return the path of the file."""
    manifests = sorted(storage.glob("*/*/manifest.json"))
    files = sorted(p for m in manifests for p in m.parent.rglob("*") if p.is_file())
    files = [path for path in files if path.stat().st_size]
    if not files:
        return "nothing"
    file = rng.choice(files)
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)
    return str(file.relative_to(storage))


def find(target: str, run: Run, rng: random.Random) -> psutil.Process | None:
    """Return a process of a run to send a signal to; wait for one until the run ends."""
    if target == "driver":
        return psutil.Process(run.process.pid) if run.process.poll() is None else None
    while run.process.poll() is None:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if re.match(TARGETS[target], command_line(process)):
                    found.append(process)
        if found:
            return rng.choice(sorted(found, key=lambda process: process.pid))
        time.sleep(0.1)
    return None


def mend_disk(storage: Path) -> None:
    """Make the disk of the storage writable and remove what fills it."""
    remount(storage.parent, "rw")
    (storage.parent / "filler").unlink(missing_ok=True)
