"""Leases between real processes and threads, on a disk and on an object store without atomic creates."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
import uuid

import pytest

from benchmarks.object_server import object_server
from kpod_ray.errors import KpodError
from kpod_ray.storage.claims import FOLDER
from kpod_ray.storage.lease import LATE_SECONDS, Lease, leased
from kpod_ray.storage.store import Store
from tests.storage.foreign_claims import NAME, claims, foreign, never

HOLD = """
import os, sys
from kpod_ray.storage.store import Store
from kpod_ray.storage.lease import leased
tell = lambda text: print(text, flush=True)
def lose(error):
    tell(f"lost: {error}")
    os._exit(3)
with leased(Store.at(sys.argv[1]), sys.argv[2], lambda: False, tell, lose) as lease:
    tell("held")
    while True:
        sum(range(100_000))  # holds the interpreter's lock as long as Python lets it
"""


@pytest.fixture(scope="module")
def server():
    with object_server() as server:
        server.tell("bucket leases")
        yield server


@pytest.fixture(params=["disk", "s3"])
def store(request, tmp_path, monkeypatch):
    if request.param == "disk":
        return Store.open(str(tmp_path / "store"))
    for name, value in request.getfixturevalue("server").environment.items():
        monkeypatch.setenv(name, value)
    return Store.open(f"s3://leases/{uuid.uuid4().hex}")


@contextlib.contextmanager
def holding(store):
    """A process that holds the lease, until the block ends."""
    command = [sys.executable, "-c", HOLD, store.root, NAME]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def in_eight_threads(work):
    """Call a function in eight threads at once, and wait for all of them."""
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_never_two_inside_and_the_work_is_done_once(store):
    inside, most, done, waited = [], [], [], []

    def work():
        with leased(store, NAME, lambda: bool(done), waited.append, pytest.fail) as lease:
            if lease is None:
                return
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.2)
            lease.confirm()
            done.append(1)
            inside.pop()

    in_eight_threads(work)
    assert most == done == [1]
    assert len(waited) <= 7
    assert set(waited) <= {f"host {os.uname().nodename}, process {os.getpid()}"}
    assert claims(store) == []


def test_never_two_inside_where_each_has_work_of_its_own(store):
    inside, most = [], []

    def work():
        with leased(store, NAME, never, lambda holder: None, pytest.fail):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    in_eight_threads(work)
    assert most == [1] * 8
    assert claims(store) == []


def test_what_is_done_needs_no_wait(disk):
    foreign(disk)
    with leased(disk, NAME, lambda: True, print, pytest.fail) as lease:
        assert lease is None


def test_other_work_is_not_waited_for(disk):
    foreign(disk)
    with leased(disk, "train/0123456789abcde", never, pytest.fail, pytest.fail) as lease:
        assert lease is not None


def test_a_killed_holder_is_followed_at_once(disk):
    waited = []
    with holding(disk) as process:
        killing = threading.Timer(2.0, process.kill)
        killing.start()
        started = time.monotonic()
        with leased(disk, NAME, never, waited.append, pytest.fail) as lease:
            assert 1 < time.monotonic() - started < 10
            assert lease is not None
            assert len(claims(disk)) == 1
    assert waited == [f"host {os.uname().nodename}, process {process.pid}"]
    assert claims(disk) == []


def test_who_holds_a_lease_is_known_without_a_claim(disk):
    looking = Lease(disk, NAME, never)
    assert looking.holder() is None
    with leased(disk, NAME, never, pytest.fail, pytest.fail):
        assert looking.holder() == f"host {os.uname().nodename}, process {os.getpid()}"
        assert len(claims(disk)) == 1
    disk.write_text(dataclasses.replace(looking.claim, ticket=1).path, "")  # forgotten
    foreign(disk, ticket=0)
    assert looking.holder() is None
    foreign(disk, ticket=3)
    foreign(disk, ticket=2, host="first")
    assert looking.holder() == "host first, process 4711"


def test_a_stopped_holder_of_this_machine_is_waited_for(disk):
    with holding(disk) as process:
        process.send_signal(signal.SIGSTOP)
        (file,) = claims(disk)
        os.utime(f"{disk.root}/{FOLDER}/{file}", (0, 0))
        until = time.monotonic() + 2
        with leased(disk, NAME, lambda: time.monotonic() > until, print, pytest.fail) as lease:
            assert lease is None


def test_ctrl_c_ends_a_wait_at_once(disk):
    path = foreign(disk)
    command = [sys.executable, "-c", HOLD, disk.root, NAME]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"host elsewhere, process 4711\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=5)
    assert process.returncode == -signal.SIGINT
    assert claims(disk) == [os.path.basename(path)]


def test_a_holder_that_gives_up_is_followed(disk):
    with pytest.raises(ZeroDivisionError), leased(disk, NAME, never, print, pytest.fail):
        raise ZeroDivisionError
    with leased(disk, NAME, never, pytest.fail, pytest.fail) as lease:
        assert lease is not None


def test_a_process_of_another_machine_is_waited_for_while_its_claim_is_young(store):
    foreign(store)
    waited = []
    until = time.monotonic() + 2
    with leased(store, NAME, lambda: time.monotonic() > until, waited.append, pytest.fail) as lease:
        assert lease is None
    assert waited == ["host elsewhere, process 4711"]
    assert len(claims(store)) == 1


def test_a_late_holder_gives_way_only_to_another_machine(disk):
    with leased(disk, NAME, never, print, pytest.fail) as lease:
        lease.renewed -= LATE_SECONDS + 1
        lease.confirm()
        waiter = foreign(disk, ticket=2)
        lease.confirm()
        lease.renewed -= LATE_SECONDS + 1
        with pytest.raises(KpodError, match="another process took over") as caught:
            lease.confirm()
        assert "\n" not in str(caught.value)
        disk.delete(waiter)
        with pytest.raises(KpodError, match="another process took over"):
            lease.confirm()
    assert claims(disk) == []


def test_a_late_holder_whose_work_another_has_done_is_told_so(disk):
    done = []
    with leased(disk, NAME, lambda: bool(done), print, pytest.fail) as lease:
        done.append(1)
        lease.confirm()
        lease.renewed -= LATE_SECONDS + 1
        with pytest.raises(KpodError, match="another process took over"):
            lease.confirm()


def test_who_was_asleep_while_queuing_queues_again(disk):
    foreign(disk)
    ids = []

    def is_done():
        ids.append(lease.claim.id)
        if len(ids) == 2:  # as another machine would after a minute
            disk.delete(lease.claim.path)
            lease.renewed -= LATE_SECONDS + 1
        return len(ids) == 5

    lease = Lease(disk, NAME, is_done)
    assert not lease.acquire(print)
    assert ids == [ids[0]] * 2 + [ids[2]] * 3
    assert ids[0] != ids[2]
    lease.release()
    assert len(claims(disk)) == 1


@pytest.mark.slow
def test_a_busy_holder_renews_its_claim_and_is_told_of_its_loss(disk):
    with holding(disk) as process:
        (file,) = claims(disk)
        path = f"{disk.root}/{FOLDER}/{file}"
        before = os.stat(path).st_mtime_ns
        deadline = time.monotonic() + 20
        while os.stat(path).st_mtime_ns == before:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        os.unlink(path)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 3
    assert output.startswith("lost: train-0123456789abcdef: another process took over")
    assert claims(disk) == []
