"""Temporary folders that name their process, so that the next start removes those of dead processes.

A process that is killed can't remove its temporary folders. Each folder is named
``kpod-NAMESPACE-PID-START-...``; `clear` removes the folders of this user whose process has ended, with
the processes that have their temporary files there, such as those of a Ray, and the shared memory that
is noted in them (`noting_shared_memory`) and that no process uses. The namespace is that of process ids:
containers that share a folder for temporary files don't see each other's processes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

_NAME = re.compile(r"kpod-(\d+)-(\d+)-(\d+)-\w+")
_SEGMENT = re.compile(r"(psm_|sem\.(mp|loky)-)[\w-]+")
"""Name of shared memory or of a semaphore of Python's multiprocessing, also with joblib's names."""
_SEGMENTS = Path("/dev/shm")
_NOTES = "segments"
NOTE_SECONDS = 0.5
"""Seconds between two looks at the shared memory of processes that start."""


def started(pid: int) -> int | None:
    """Return the start of a process in clock ticks since the boot; None if it has ended or is a zombie.

    The start tells a process from a later one with the same id, and doesn't change with the clock.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


def make_folder() -> Path:
    """Make a temporary folder of this process, which the caller removes."""
    _clear_once()
    prefix = f"kpod-{_namespace()}-{os.getpid()}-{started(os.getpid())}-"
    return Path(tempfile.mkdtemp(prefix=prefix, dir=_base()))


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a temporary folder for a block, which is removed at the end of the block."""
    folder = make_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def own_folder() -> Iterator[None]:
    """Keep temporary files of all libraries in a temporary folder of this process during a block.

    If no folder can be made, the libraries' files are where they are by default.
    """
    previous = tempfile.tempdir
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            tempfile.tempdir = str(stack.enter_context(temporary_folder()))
        try:
            yield
        finally:
            tempfile.tempdir = previous


@contextlib.contextmanager
def noting_shared_memory(folder: Path) -> Iterator[None]:
    """Note in a folder of this process, for `clear`, the shared memory made during the block.

    All shared memory and semaphores of this user that appear are noted, whichever process made them: a
    process that is killed in its first moments can't be asked for its own. `clear` removes those that no
    process uses.
    """
    known, is_over = set(_segments()), threading.Event()

    def note() -> None:
        """Note what has appeared since the last call."""
        (folder / _NOTES).mkdir(exist_ok=True)
        for name in set(_segments()) - known:
            (folder / _NOTES / name).touch()
            known.add(name)

    def note_again_and_again() -> None:
        """Call `note` until the block ends."""
        while not is_over.wait(NOTE_SECONDS):
            note()

    thread = threading.Thread(target=note_again_and_again, name="kpod-scratch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        note()


def _segments() -> list[str]:
    """Return the names of multiprocessing's shared memory and semaphores."""
    names = os.listdir(_SEGMENTS) if _SEGMENTS.is_dir() else []
    return [name for name in names if _SEGMENT.fullmatch(name)]


def clear() -> None:
    """Remove the temporary folders of this user's dead processes, with what else is left of these.

    Some processes of a Ray live for a minute after the process that started the Ray was killed.
    """
    for folder, pid, start in _folders():
        if started(pid) != start:
            _kill_users(folder)
            _remove(folder)


def _kill_users(folder: Path) -> None:
    """Kill the processes of this user that have their temporary files in a folder."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("TMPDIR") == str(folder):
                process.kill()


def clear_own() -> None:
    """Remove the temporary folders of this process, which is about to end."""
    for folder, pid, start in _folders():
        if pid == os.getpid() and started(pid) == start:
            _remove(folder)


def _folders() -> Iterator[tuple[Path, int, int]]:
    """Yield the temporary folders of this user's processes, with process id and start."""
    for folder in _base().glob("kpod-*"):
        match = _NAME.fullmatch(folder.name)
        with contextlib.suppress(OSError):
            if match is None or folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            namespace, pid, start = map(int, match.groups())
            if namespace == _namespace():
                yield folder, pid, start


def _base() -> Path:
    """Return the folder of temporary files, also inside a block of `own_folder`."""
    base = Path(tempfile.gettempdir())
    return base.parent if _NAME.fullmatch(base.name) else base


def _remove(folder: Path) -> None:
    notes = folder / _NOTES
    noted = {note.name for note in notes.iterdir()} if notes.is_dir() else set()
    left = [_SEGMENTS / name for name in noted & set(_segments())]
    used = _used_inodes() if left else set()
    for segment in left:
        with contextlib.suppress(FileNotFoundError):
            stat = segment.stat()
            if stat.st_uid == os.getuid() and stat.st_ino not in used:
                segment.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _used_inodes() -> set[int]:
    """Return the inodes of the segments that processes map; other users' processes can't be asked.

    The maps name a semaphore by an earlier name in the process that made it.
    """
    found = set()
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
            found |= {int(line.split()[4]) for line in lines if f" {_SEGMENTS}/" in line}
    return found


@functools.cache
def _clear_once() -> None:
    clear()


@functools.cache
def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino
