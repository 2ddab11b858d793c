import asyncio
import dataclasses
import functools
import os
import random
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
import ray

from kpod_ray.cluster.processes import PATIENCE_SECONDS
from kpod_ray.config import ActorResources
from kpod_ray.errors import KpodError
from kpod_ray.inference.attempts import MOST_DEATHS, AttemptTracker
from kpod_ray.inference.completions import CompletionIndex
from kpod_ray.inference.generate import GenerationActor, generate
from kpod_ray.inference.records import Completion, GenerationRequest
from kpod_ray.inference.requests import Pending
from kpod_ray.inference.service import ServicePool
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store
from tests.inference.scripted import Scripted, marked

FOLDER = "completions/x"


def requests(num, poison=()):
    texts = [f"text {i}" + (" poison" if i in poison else "") for i in range(num)]
    return [GenerationRequest(f"{i:024x}", text, i) for i, text in enumerate(texts)]


@pytest.fixture
def artifact(tmp_path):
    return Artifact.of(Store.open(str(tmp_path / "store")), "teacher", 1, {}, [])


def run(artifact, wanted, start, rows_per_block=8, max_in_flight=32, **resources):
    pending, told = Pending(artifact), []
    pending.add(wanted)
    place = ActorResources(rows_per_block=rows_per_block, num_cpus=1, **resources)
    generate(pending, FOLDER, ServicePool(start, place, max_in_flight), told.append)
    return told


def found(artifact, wanted):
    return CompletionIndex(artifact.store, FOLDER).find([request.id for request in wanted])


def test_every_request_gets_its_completion_once(ray_cluster, artifact, tmp_path):
    wanted, marks = requests(50), tmp_path / "marks"
    told = run(artifact, wanted, functools.partial(Scripted, marks, 0.01), num_actors=2)
    assert sum(told) == 50
    assert sorted(marked(marks)) == [request.id for request in wanted]
    assert found(artifact, wanted) == [
        Completion(r.id, r.text[::-1], "stop", len(r.text), 3, -1.5) for r in wanted
    ]


def test_a_call_that_is_made_again_generates_nothing_again(ray_cluster, artifact, tmp_path):
    wanted, marks, pending = requests(20), tmp_path / "marks", Pending(artifact)
    pending.add(wanted)
    pool = ServicePool(functools.partial(Scripted, marks), ActorResources(rows_per_block=8), 16)
    attempts = (
        ray.remote(AttemptTracker).options(num_cpus=0).remote(artifact.store, FOLDER, "run", 1)
    )
    call = pa.Table.from_pylist([dataclasses.asdict(block) for block in pending.blocks(8)])
    for _ in range(2):  # the second time in another process, had the first one died
        actor = GenerationActor(pool, artifact.store, FOLDER, "run", attempts)
        result = asyncio.run(actor(call))
        assert result == {"key": [wanted[i].id for i in (0, 8, 16)], "rows": [8, 8, 4]}
    ray.kill(attempts)
    assert sorted(marked(marks)) == [request.id for request in wanted]
    assert len(found(artifact, wanted)) == 20


def test_while_blocks_wait_for_their_longest_rows_others_are_with_the_service(
    ray_cluster, artifact, tmp_path
):
    class Slow(Scripted):
        async def generate(self, request):
            self.seconds = 3.0 if request.seed % 8 == 0 else 0.0
            started = time.time()
            completion = await super().generate(request)
            with open(f"{self.marks}.spans", "a") as file:
                file.write(f"{started} {time.time()} {self.num_inside + 1}\n")
            return completion

    run(artifact, requests(64), functools.partial(Slow, tmp_path / "marks"), max_in_flight=16)
    spans = [tuple(map(float, line.split())) for line in _lines(tmp_path / "marks.spans")]
    slow = [(start, end) for start, end, _ in spans if end - start > 2.9]
    assert len(slow) == 8
    assert max(start for start, _ in slow) < min(end for _, end in slow)
    assert max(num_inside for _, _, num_inside in spans) <= 16


def test_a_prompt_that_kills_the_engine_is_set_aside_and_costs_no_other(
    ray_cluster, artifact, tmp_path
):
    wanted, marks = requests(24, poison={5}), tmp_path / "marks"
    run(artifact, wanted, functools.partial(Scripted, marks, 0.02))
    completions = {row.id: row for row in found(artifact, wanted)}
    bad = completions[wanted[5].id]
    assert bad.finish_reason == "error"
    assert f"died each of {MOST_DEATHS} times" in bad.text
    assert all(row.finish_reason == "stop" for i, row in completions.items() if i != bad.id)
    deaths = [int(line) for line in _lines(f"{marks}.deaths")]
    assert len(deaths) == MOST_DEATHS
    assert deaths[-3:] == [1, 1, 1]  # the last three times it was alone
    assert set(marked(marks)) == {request.id for request in wanted} - {bad.id}


def test_killed_actors_cost_less_than_a_block_of_finished_rows_each(
    ray_cluster, artifact, tmp_path
):
    class Telling(Scripted):
        def __init__(self, marks, seconds):
            super().__init__(marks, seconds)
            Path(f"{marks}.pid").write_text(str(os.getpid()))

        async def generate(self, request):
            await asyncio.sleep(random.Random(request.seed).uniform(0, 1))
            return await super().generate(request)

    wanted, marks, kills = requests(400), tmp_path / "marks", []
    is_over = threading.Event()

    def kill():
        for _ in range(4):
            before = len(marked(marks))
            while len(marked(marks)) < min(before + 60, 395):
                if is_over.wait(0.02):
                    return
            os.kill(int(Path(f"{marks}.pid").read_text()), signal.SIGKILL)
            kills.append(len(marked(marks)))

    with ThreadPoolExecutor() as threads:
        killing = threads.submit(kill)
        try:
            run(artifact, wanted, functools.partial(Telling, marks, 0.05))
        finally:
            is_over.set()
        killing.result()
    ids = marked(marks)
    assert len(kills) == 4
    assert set(ids) == {request.id for request in wanted}
    assert len(ids) - len(wanted) < 4 * 8
    assert len(found(artifact, wanted)) == 400


def test_the_processes_of_the_engines_are_gone_afterwards(ray_cluster, artifact, tmp_path):
    class WithChild(Scripted):
        """Has a process of its own, which would outlive it."""

        def __init__(self, marks):
            super().__init__(marks)
            import subprocess

            self.child = subprocess.Popen(["sleep", "600"], start_new_session=True)
            Path(f"{marks}.pids").write_text(f"{os.getpid()} {self.child.pid}")

    marks = tmp_path / "marks"
    assert PATIENCE_SECONDS <= 30
    run(artifact, requests(4), functools.partial(WithChild, marks))
    pids = [int(pid) for pid in Path(f"{marks}.pids").read_text().split()]
    for pid in pids:
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_an_error_ends_the_engines_at_once(ray_cluster, artifact, tmp_path):
    class Failing(Scripted):
        def __init__(self, marks):
            super().__init__(marks)
            Path(f"{marks}.pid").write_text(str(os.getpid()))

        async def generate(self, request):
            raise KpodError("no more")

    marks, started = tmp_path / "marks", time.monotonic()
    with pytest.raises(KpodError, match=r"^no more$"):
        run(artifact, requests(4), functools.partial(Failing, marks))
    assert time.monotonic() - started < PATIENCE_SECONDS
    pid = int(Path(f"{marks}.pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_what_the_user_can_mend_is_one_line(ray_cluster, artifact):
    def refuses():
        raise KpodError("no such model; name another")

    with pytest.raises(KpodError, match=r"^no such model; name another$"):
        run(artifact, requests(4), refuses)


def test_a_service_that_dies_at_every_start_is_given_up(ray_cluster, artifact):
    def dies():
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(KpodError, match="wrote no row in between"):
        run(artifact, requests(4), dies)


def _lines(path):
    return Path(path).read_text().splitlines()


class Verbose(Scripted):
    """Writes texts that don't compress: two dozen of them fill a small disk."""

    async def generate(self, request):
        completion = await super().generate(request)
        text = random.Random(request.seed).randbytes(8000).hex()
        return dataclasses.replace(completion, text=text)


def test_a_full_disk_ends_the_run_in_one_line_and_the_next_one_goes_on(
    ray_cluster, small_disk, tmp_path
):
    artifact = Artifact.of(Store.open(str(small_disk)), "teacher", 1, {}, [])
    wanted, marks, reserve = requests(24), tmp_path / "marks", small_disk / "reserve"
    reserve.write_bytes(b"x" * 100_000)
    start = functools.partial(Verbose, marks)
    with pytest.raises(KpodError, match="the disk of the storage is full; make room"):
        run(artifact, wanted, start)
    files = os.listdir(small_disk / FOLDER)
    assert files
    assert all(name.endswith(".parquet") for name in files)
    there = CompletionIndex(artifact.store, FOLDER).has([r.id for r in wanted])
    assert 0 < there.sum() < 24
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    run(artifact, [r for r, is_there in zip(wanted, there, strict=True) if not is_there], start)
    assert len(found(artifact, wanted)) == 24
