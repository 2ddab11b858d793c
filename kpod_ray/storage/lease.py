"""Leases: of all processes that need the same unfinished work, one does it and the others wait.

Object stores have no atomic "create if missing" here (pyarrow sends no ``If-None-Match``). The lease is
therefore Lamport's bakery: every process writes a claim of its own, takes a ticket above all tickets
that it sees, and holds the lease once no living claim is ahead. No clocks are compared for that. Only
the death of a process on another machine is judged by time: by the modification times that the storage
itself gives to the claims, which their owners renew. A claim is an empty file whose name says all, so
that listing the folder shows every claim.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.fs as pafs

from kpod_ray.errors import KpodError
from kpod_ray.storage.claims import FOLDER, Claim, own_claims
from kpod_ray.storage.store import Store

HEARTBEAT_SECONDS = 10.0
"""Interval at which a holder renews its claim: several may fail before the claim counts as dead."""
POLL_SECONDS = 1.0
"""Interval at which a waiting process renews its own claim and looks at the others."""
LATE_SECONDS = 45.0
"""Longest time between two renewals after which a process may still rely on its claim. The margin to
`DEAD_SECONDS` covers storages that round modification times, and servers whose clocks differ."""
OnWait = Callable[[str], None]
"""Takes the holder for which this process waits, such as ``host node-1, process 4711``."""
OnLost = Callable[[KpodError], None]
"""Takes the error that a lost lease causes; called in the thread of the heartbeat."""


class Lease:
    """The claim of this process to one lease; see `leased`.

    Args:
        store: store whose folder `FOLDER` holds the claims.
        name: name of the lease, such as the folder of an artifact.
        is_done: returns whether the work that the lease is about is done.
    """

    def __init__(self, store: Store, name: str, is_done: Callable[[], bool]) -> None:
        self.store = store
        self.is_done = is_done
        self.claim = Claim.of_this_process(name.replace("/", "-"))
        self.renewed = _now()
        """Start of the last renewal that succeeded, on the clock that goes on while a machine sleeps."""
        self.is_lost = False
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def acquire(self, on_wait: OnWait) -> bool:
        """Wait until this process holds the lease, or the work is done; return whether it holds it.

        Raises:
            OSError: The storage fails.
        """
        is_told = False
        self._queue_up()
        while not self.is_done():
            started = _now()
            self._write()
            living = self._living()
            if living is None or _now() - self.renewed > LATE_SECONDS:
                self._queue_up()  # others may have counted the claim as dead
                continue
            self.renewed = started
            ahead = [claim for claim in living if claim.is_ahead_of(self.claim)]
            if not ahead:
                # The holder before may have done the work since it was looked for.
                return not self.is_done()
            first = min(ahead, key=lambda claim: (claim.ticket, claim.id))
            if first.ticket and not is_told:
                on_wait(first.holder)
                is_told = True
            time.sleep(POLL_SECONDS)
        return False

    def holder(self) -> str | None:
        """Return who holds the lease now, in the words of `OnWait`; nothing is written.

        A process of another machine counts, however old its claim is.
        """
        holders = [c for c, _ in self._claims() if c.ticket and not c.is_dead(age_s=0)]
        return min(holders, key=lambda c: (c.ticket, c.id)).holder if holders else None

    def confirm(self) -> None:
        """Renew the claim; call this before the work is marked as done.

        Raises:
            KpodError: Another process took the lease, because this one was asleep or cut off.
            OSError: The storage fails.
        """
        with self._lock:
            self.is_lost = self.is_lost or not self._renew()
        if self.is_lost:
            raise self._loss()

    def release(self) -> None:
        """End the heartbeat and delete the claim; a storage that fails is left with a dead claim."""
        self._stop.set()
        with self._lock, contextlib.suppress(OSError):
            self.store.delete(self.claim.path)
        own_claims.discard(self.claim.id)

    def start_heartbeat(self, on_lost: OnLost) -> None:
        """Renew the claim in a thread until `release`."""
        threading.Thread(target=self._beat, args=(on_lost,), name="kpod-lease", daemon=True).start()

    def _beat(self, on_lost: OnLost) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                self.confirm()
            except OSError:
                continue  # tried again at the next beat; the work itself tells of a failing storage
            except KpodError as error:
                if not self._stop.is_set():
                    on_lost(error)
                return

    def _renew(self) -> bool:
        """Renew the claim; return whether this process still holds the lease."""
        started = _now()
        if not self.store.exists(self.claim.path):
            return False
        self._write()
        is_late = _now() - self.renewed > LATE_SECONDS
        self.renewed = started
        return not (is_late and self._may_be_followed())

    def _may_be_followed(self) -> bool:
        """Return whether a process of another machine may have counted the claim as dead.

        Processes of this machine ask whether the process lives.
        """
        others = (claim.machine != self.claim.machine for claim in self._living() or ())
        return any(others) or self.is_done()

    def _loss(self) -> KpodError:
        return KpodError(
            f"{self.claim.lease}: another process took over, because this one didn't renew its lease in "
            "time; run the same command again: the run continues with what is there"
        )

    def _queue_up(self) -> None:
        """Claim the lease anew, with a ticket above all others."""
        self.store.delete(self.claim.path)
        own_claims.discard(self.claim.id)
        choosing = Claim.of_this_process(self.claim.lease)
        own_claims.add(choosing.id)
        self.claim = choosing
        self.renewed = _now()
        self._write()
        last = max((claim.ticket for claim, _ in self._claims()), default=0)
        self.claim = dataclasses.replace(choosing, ticket=last + 1)
        self._write()
        self.store.delete(choosing.path)

    def _write(self) -> None:
        self.store.write_text(self.claim.path, "")

    def _living(self) -> list[Claim] | None:
        """Return the claims of living processes, and delete the others; None if the own is gone."""
        claims = self._claims()
        own = [time_ns for claim, time_ns in claims if claim == self.claim]
        if not own:
            return None
        living = []
        for claim, time_ns in claims:
            if claim.is_dead((own[0] - time_ns) / 1e9):
                self._bury(claim)
            else:
                living.append(claim)
        return living

    def _claims(self) -> list[tuple[Claim, int]]:
        """Return every claim with its modification time, in ns by the storage's clock."""
        claims = [(Claim.of_file(info.base_name), info.mtime_ns) for info in self._files()]
        return [(c, time_ns) for c, time_ns in claims if c and c.lease == self.claim.lease]

    def _bury(self, claim: Claim) -> None:
        """Delete the files of a dead process: its claim, and temporary ones of its renewals."""
        for info in self._files():
            if f"~{claim.id}~" in info.base_name:
                with contextlib.suppress(FileNotFoundError):  # another process was faster
                    self.store.filesystem.delete_file(info.path)

    def _files(self) -> list[Any]:
        """Return the files of all claims.

        A disk may leave out of a listing what is renamed meanwhile, such as a claim that gets its ticket
        or is renewed: a disk is asked twice.
        """
        selector = pafs.FileSelector(f"{self.store.root}/{FOLDER}", allow_not_found=True)
        times = 2 if self.store.is_local() else 1
        lists = [self.store.filesystem.get_file_info(selector) for _ in range(times)]
        return list({info.path: info for infos in lists for info in infos}.values())


@contextlib.contextmanager
def leased(
    store: Store, name: str, is_done: Callable[[], bool], on_wait: OnWait, on_lost: OnLost
) -> Iterator[Lease | None]:
    """Hold a lease during the block, after waiting for the processes that hold or claimed it before.

    A process that died, on another machine one that hasn't renewed its claim for `DEAD_SECONDS`, isn't
    waited for. A holder that slept longer and lost the lease is told when it wakes. The block must call
    `Lease.confirm` right before it marks the work as done; what happens in between isn't protected.

    Args:
        store: store that holds the claims, and the work.
        name: name of the lease, such as the folder of an artifact.
        is_done: returns whether the work is done; called again and again.
        on_wait: called once, if another process is waited for.
        on_lost: called within `HEARTBEAT_SECONDS` after this process has lost the lease and woken. It
            should end the process: the other process works on the same files.

    Yields:
        The lease, or None if the work is done: by another process, and nothing is left to do.

    Raises:
        OSError: The storage fails.
    """
    lease = Lease(store, name, is_done)
    try:
        if lease.acquire(on_wait):
            lease.start_heartbeat(on_lost)
            yield lease
        else:
            yield None
    finally:
        lease.release()


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
