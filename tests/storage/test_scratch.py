import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
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


SEGMENTS = """
import sys
from _multiprocessing import SemLock
from multiprocessing import resource_tracker, shared_memory
resource_tracker.register = lambda name, kind: None  # as if the tracker was killed, too
segment = shared_memory.SharedMemory(create=True, size=10)
semaphore = SemLock(0, 0, 1, sys.argv[1], False)
print(segment.name, flush=True)
sys.stdin.readline()
"""


def test_what_a_process_made_right_before_it_was_killed_is_removed_and_not_what_is_used(base):
    folder = make_folder()
    earlier, later = f"/mp-{os.getpid()}-a", f"/loky-{os.getpid()}-b"
    with _holding(earlier) as process:
        old = _names(process, earlier)
        process.kill()
    with _holding(later) as used, _holding(later + "c") as killed:
        with noting_shared_memory(folder):
            new = [_names(used, later), _names(killed, later + "c")]
            killed.kill()
            killed.wait()
        assert all(path.exists() for path in [*old, *new[0], *new[1]])
        clear_own()
        assert all(path.exists() for path in new[0])
        assert not any(path.exists() for path in new[1])
        assert all(path.exists() for path in old)
    for path in [*old, *new[0]]:
        path.unlink(missing_ok=True)


def _holding(semaphore):
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SEGMENTS, semaphore]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)


def _names(process, semaphore):
    """Return the files of the segment and of the semaphore that a process has made."""
    names = process.stdout.readline().strip(), f"sem.{semaphore[1:]}"
    return [Path("/dev/shm") / name for name in names]


def _children(pid):
    return map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def test_processes_that_a_killed_process_started_end_at_the_next_start(base):
    script = """
import os, subprocess, sys
from kpod_ray.storage.scratch import make_folder
folder = make_folder()
for name in (str(folder), os.environ["TMPDIR"]):
    environment = os.environ | {"TMPDIR": name}
    print(subprocess.Popen(["sleep", "60"], env=environment, stdout=subprocess.DEVNULL).pid)
print(flush=True)
sys.stdin.read()
"""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        inside, outside = (psutil.Process(int(process.stdout.readline())) for _ in range(2))
        clear()
        assert inside.is_running()
        process.kill()
    clear()
    assert psutil.wait_procs([inside], timeout=5)[1] == []
    assert outside.is_running()
    outside.kill()


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
