import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kpod_ray.storage import scratch
from kpod_ray.storage.scratch import (
    clear,
    clear_own,
    make_folder,
    noting_shared_memory,
    own_folder,
    started,
)

MAKES = """
import os, signal, sys
from multiprocessing import shared_memory
from kpod_ray.storage.scratch import make_folder, noting_shared_memory
folder = make_folder()
with noting_shared_memory(folder):
    segment = shared_memory.SharedMemory(create=True, size=10)
(folder / "file").write_text("x")
print(folder, segment.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A folder of temporary files for this process and its children."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    previous, tempfile.tempdir = tempfile.tempdir, None
    yield tmp_path
    tempfile.tempdir = previous


@pytest.fixture
def other(base):
    """A process with a temporary folder and shared memory; gives process, folder and segment."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", MAKES], stdin=pipe, stdout=pipe, text=True
    ) as process:
        folder, segment = process.stdout.readline().split()
        yield process, Path(folder), Path("/dev/shm") / segment
        process.kill()
    clear()


def test_folders_and_shared_memory_stay_while_their_process_lives(other):
    _, folder, segment = other
    clear()
    assert (folder / "file").exists()
    assert segment.exists()


def test_a_killed_process_leaves_nothing_after_the_next_start(other):
    process, folder, segment = other
    # the tracker of shared memory would tidy up, but dies with the group of a killed service
    for pid in {process.pid, *_children(process.pid)}:
        os.kill(pid, 9)
    process.wait()
    assert folder.exists()
    assert segment.exists()
    clear()
    assert not folder.exists()
    assert not segment.exists()


SEMAPHORES = """
import sys
from _multiprocessing import SemLock
names = sys.stdin.readline().split()
semaphores = [SemLock(0, 0, 1, name, False) for name in names]
print(flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("is_dead", [False, True])
def test_semaphores_of_a_killed_process_are_removed_also_where_they_were_never_seen(base, is_dead):
    pipe = subprocess.PIPE
    folder = make_folder()
    with subprocess.Popen(
        [sys.executable, "-c", SEMAPHORES], stdin=pipe, stdout=pipe, text=True
    ) as process:
        with noting_shared_memory(folder):
            pass
        names = [f"/loky-{pid}-{os.getpid()}" for pid in (process.pid, process.pid * 10)]
        print(*names, file=process.stdin, flush=True)
        process.stdout.readline()
        if is_dead:
            process.kill()
            process.wait()
        segments = [Path(f"/dev/shm/sem.{name[1:]}") for name in names]
        assert all(segment.exists() for segment in segments)
        clear_own()
        assert [segment.exists() for segment in segments] == [not is_dead, True]
        process.kill()
    for segment in segments:
        segment.unlink(missing_ok=True)


def _children(pid):
    return map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def test_only_folders_of_ours_are_removed(base, tmp_path_factory):
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    dead = 2**22 + 1  # above the largest process id
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (base / f"kpod-{namespace}-{dead}-5-link").symlink_to(elsewhere)
    for name in ("kpod-checkpoint", f"kpod-{namespace + 1}-{dead}-5-ab", "kpod-1-2-3", "other"):
        (base / name).mkdir()
    before = sorted(base.iterdir())
    (base / f"kpod-{namespace}-{dead}-5-ab").mkdir()
    (base / f"kpod-{namespace}-{os.getpid()}-5-ab").mkdir()  # of an earlier process with this id
    clear()
    assert sorted(base.iterdir()) == before
    assert elsewhere.exists()


def test_a_note_reaches_nothing_outside_shared_memory(base):
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    notes = base / f"kpod-{namespace}-{2**22 + 1}-5-ab" / "segments"
    notes.mkdir(parents=True)
    victim = base / "victim"
    victim.write_text("")
    (notes / "psm_..").touch()
    (notes / "other").touch()
    clear()
    assert victim.exists()
    assert not notes.exists()


def test_libraries_write_into_the_folder_of_the_command(base):
    with own_folder():
        folder = Path(tempfile.mkdtemp())
        assert folder.parent.parent == base
        assert make_folder().parent == base
    assert not folder.exists()
    assert tempfile.gettempdir() == str(base)
    clear_own()
    assert not list(base.iterdir())


def test_a_command_that_only_reads_needs_no_folder(base):
    tempfile.tempdir = str(base / "missing")
    with own_folder():
        assert tempfile.gettempdir() == str(base / "missing")


def test_the_start_of_a_process_does_not_change_and_ends_with_it():
    with subprocess.Popen(["sleep", "60"]) as process:
        first = started(process.pid)
        assert first == started(process.pid)
        assert first >= started(os.getpid())
        process.kill()
        while started(process.pid) is not None:  # a zombie until it is waited for
            pass
    assert started(process.pid) is None
    assert scratch.NOTE_SECONDS < 1
