"""Claims to a lease: empty files whose names say which process wants or holds the lease."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
import socket
import uuid
from pathlib import Path

from kpod_ray.storage import scratch

FOLDER = "leases"
"""Folder of the claims, relative to the store's root; not in the artifacts, which only their makers
write."""
_SUFFIX = ".claim"
DEAD_SECONDS = 60.0
"""Age at which a claim of another machine counts as dead: the minute for which `PatientS3` repeats a
request, so that a storage that is away for less costs no lease."""
own_claims = set[str]()
"""Ids of the claims of this process that are in use: one whose file couldn't be deleted is dead."""


@dataclasses.dataclass(frozen=True)
class Claim:
    """A process that wants a lease or holds it."""

    lease: str
    ticket: int
    """Position in the queue, from 1; 0 while the process takes a ticket."""
    id: str
    """Random id of one attempt of a process to get the lease."""
    machine: str
    """Digest of what ``pid`` counts in: the boot of a kernel and the PID namespace. Host names repeat
    among containers."""
    pid: int
    started: int
    """Start of the process in ticks since the boot; a later process with this number has another."""
    host: str

    @classmethod
    def of_this_process(cls, lease: str) -> Claim:
        """Return a new claim without a ticket."""
        pid = os.getpid()
        host = re.sub(r"[^\w.-]", "-", socket.gethostname())
        return cls(lease, 0, uuid.uuid4().hex, _machine(), pid, scratch.started(pid) or 0, host)

    @classmethod
    def of_file(cls, name: str) -> Claim | None:
        """Return the claim that a file name stands for; None for any other file."""
        stem, suffix = os.path.splitext(name)  # a file half written has another suffix
        try:
            lease, ticket, claim_id, machine, pid, started, host = stem.rsplit("~", 6)
            if suffix != _SUFFIX:
                return None
            return cls(lease, int(ticket), claim_id, machine, int(pid), int(started), host)
        except ValueError:
            return None

    def is_ahead_of(self, other: Claim) -> bool:
        """Return whether ``other`` must wait for this claim, also because its ticket isn't known yet."""
        return self.id != other.id and (self.ticket, self.id) < (other.ticket, other.id)

    @property
    def holder(self) -> str:
        """The process in words."""
        return f"host {self.host}, process {self.pid}"

    @property
    def path(self) -> str:
        """Path of the claim's file, relative to the store's root."""
        return f"{FOLDER}/{'~'.join(map(str, dataclasses.astuple(self)))}{_SUFFIX}"

    def is_dead(self, age_s: float) -> bool:
        """Return whether the process is gone; ``age_s`` is the time since the last renewal."""
        if self.machine != _machine():
            return age_s > DEAD_SECONDS
        if self.pid == os.getpid() and self.started == scratch.started(self.pid):
            return self.id not in own_claims
        return scratch.started(self.pid) != self.started


@functools.cache
def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        text = f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        text = uuid.uuid4().hex  # this process alone: everybody else goes by its heartbeat
    return hashlib.sha256(text.encode()).hexdigest()[:12]
