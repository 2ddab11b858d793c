"""Temporary folders that name their process, so that the next start removes those of dead processes.

A process that is killed can't remove its temporary folders. Each folder is named
``kpod-NAMESPACE-PID-START-...``; `clear` removes the folders of this user whose process has ended, with
the shared memory that is noted in them (`noting_shared_memory`). The namespace is that of process ids:
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
_SEGMENT = re.compile(r"/dev/shm/((?:psm_|sem\.)[\w.-]+)\n")
"""Line end of ``/proc/PID/maps`` for shared memory and semaphores of Python's multiprocessing."""
_NAMED_AFTER = "sem.loky-{}-"
"""Beginning of the names of a process's semaphores of multiprocessing, once joblib is imported."""
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

    Shared memory and semaphores of this process and its descendants are noted until the block ends.
    """
    is_over = threading.Event()

    def note() -> None:
        """Note the shared memory again and again, until the block ends."""
        while not is_over.wait(NOTE_SECONDS):
            _note_shared_memory(folder)

    thread = threading.Thread(target=note, name="kpod-scratch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        _note_shared_memory(folder)


def _note_shared_memory(folder: Path) -> None:
    own = psutil.Process()
    notes = folder / _NOTES
    notes.mkdir(exist_ok=True)
    for process in [own, *own.children(recursive=True)]:
        # A process that is killed right after it made a semaphore had none at the last look.
        (notes / _NAMED_AFTER.format(process.pid)).touch()
        with contextlib.suppress(OSError):
            for name in _SEGMENT.findall(Path(f"/proc/{process.pid}/maps").read_text()):
                (notes / name).touch()


def clear() -> None:
    """Remove the temporary folders of this user's dead processes, with their shared memory."""
    for folder, pid, start in _folders():
        if started(pid) != start:
            _remove(folder)


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
    for note in (folder / _NOTES).iterdir() if (folder / _NOTES).is_dir() else ():
        for segment in _noted(note.name):
            with contextlib.suppress(FileNotFoundError):
                if segment.stat().st_uid == os.getuid():
                    segment.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _noted(note: str) -> list[Path]:
    """Return the segment of a note, or all semaphores of the dead process that the note names."""
    match = re.fullmatch(_NAMED_AFTER.format(r"(\d+)"), note)
    if match is None:
        return [_SEGMENTS / note]
    return list(_SEGMENTS.glob(f"{note}*")) if started(int(match[1])) is None else []


@functools.cache
def _clear_once() -> None:
    clear()


@functools.cache
def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino
