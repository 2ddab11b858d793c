"""A run submitted to a cluster of two groups, stopped inside the teacher phase and submitted again."""

import json
import os
import threading
import time

import pytest

from benchmarks.local_groups import UPLOAD, local_groups
from kpod_ray.pipeline import PHASES
from tests.models.endpoint_server import EndpointServer, answer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NUM_QUESTIONS, NUM_ANSWERED = 12, 5
"""Training questions, and those that the teacher answers before it falls silent."""


class Teacher:
    """Answers some questions, and the others when it is told to."""

    def __init__(self):
        self.lock, self.asked, self.talks = threading.Lock(), [], threading.Event()

    def __call__(self, number, body):
        if "messages" not in body:
            return 200, {}, {"data": []}
        with self.lock:
            self.asked.append(body["messages"][-1]["content"])
            must_wait = len(self.asked) > NUM_ANSWERED
        if must_wait:
            self.talks.wait()
        return 200, {}, answer()


def job_of(storage, url):
    student = "labels: {group: student}, num_threads: 1"
    return [
        *("python", "jobs/run.py", "configs/smoke.yaml", f"storage={storage}", "weigher=null"),
        f"teacher={{kind: endpoint, model: m, url: '{url}', max_concurrent: 2, missing: reference}}",
        *("schedule.num_stages=2", "evaluation.backend=transformers"),
        "resources.teacher={labels: {group: teacher}, rows_per_block: 2}",  # a file a row
        *(f"resources.{phase}={{{student}}}" for phase in ("assess", "evaluate")),
        f"resources.train={{{student}, num_workers: 1}}",
    ]


def finished(storage):
    """Return when each artifact was finished, by its manifest."""
    return {path: path.stat().st_mtime_ns for path in storage.glob("*/*/manifest.json")}


def phases(manifests):
    return sorted(path.parts[-3] for path in manifests)


def wait_until(holds, seconds=300):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Submitted:
    """What became of a run that was submitted twice."""

    def __init__(self, cluster, storage, teacher, url):
        self.cluster, self.storage, self.teacher = cluster, storage, teacher
        command, job = [*UPLOAD, "--"], job_of(storage, url)
        self.denied = cluster.job("list", token="f" * 64)
        first = cluster.job("submit", "--no-wait", "--submission-id=first", *command, *job)
        assert first[0] == 0, first[1]
        wait_until(lambda: len(list(storage.glob("completions/*/*.parquet"))) == NUM_ANSWERED)
        wait_until(lambda: len(teacher.asked) > NUM_ANSWERED)
        self.stopped = cluster.job("stop", "first")
        self.before, self.asked_before = finished(storage), list(teacher.asked)
        teacher.talks.set()
        self.second = cluster.job("submit", "--submission-id=second", *command, *job)

    def manifest(self, name):
        folders = json.loads((self.storage / "runs/smoke/artifacts.json").read_text())
        return json.loads((self.storage / folders[name] / "manifest.json").read_text())


@pytest.fixture(scope="module")
def submitted(tmp_path_factory):
    teacher, storage = Teacher(), tmp_path_factory.mktemp("storage")
    waiting = {name: os.environ[name] for name in ("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S",)}
    with EndpointServer(teacher) as server:
        try:
            with local_groups({"teacher": 2, "student": 2}, waiting) as cluster:
                yield Submitted(cluster, storage, teacher, server.url)
        finally:
            teacher.talks.set()


def test_a_wrong_token_is_refused(submitted):
    status, printed = submitted.denied
    assert status != 0
    assert submitted.cluster.token not in printed


def test_the_upload_is_small(submitted):
    files = submitted.cluster.uploaded()
    assert sum(files.values()) < 2e6  # before it is packed
    assert {"jobs/run.py", "kpod_ray/report/page.html", "configs/smoke.yaml"} <= set(files)
    assert not any(path.startswith(("tests/", "docs/", ".git", ".venv")) for path in files)


def test_a_run_that_is_stopped_goes_on_where_it_was(submitted):
    assert submitted.stopped[0] == 0, submitted.stopped[1]
    status, printed = submitted.second
    assert status == 0, printed[-3000:]
    assert phases(submitted.before) == ["questions"]
    after = finished(submitted.storage)
    assert phases(after) == sorted([*PHASES[:-1], "evaluate"])  # of the untouched student, too
    assert {path: after[path] for path in submitted.before} == submitted.before


def test_what_the_teacher_had_answered_is_not_asked_again(submitted):
    asked, before = submitted.teacher.asked, submitted.asked_before
    answered, again = before[:NUM_ANSWERED], asked[len(before) :]
    assert sorted(answered + again) == sorted(set(asked))
    assert len(set(asked)) == NUM_QUESTIONS


def test_each_phase_ran_on_its_group(submitted):
    ids = {}
    for name in ("teacher", "assess", "train", "evaluate_before", "evaluate"):
        (node,) = submitted.manifest(name)["nodes"]
        group = "teacher" if name == "teacher" else "student"
        assert node["labels"] == {"group": group}, name
        ids.setdefault(group, set()).add(node["id"])
    assert [len(ids[group]) for group in ("teacher", "student")] == [1, 1]
    assert ids["teacher"] != ids["student"]


def test_the_token_is_in_no_file(submitted):
    token = submitted.cluster.token.encode()
    folders = (submitted.storage, submitted.cluster.folder)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if token in path.read_bytes()] == []
    assert any(path.name == "model.safetensors" for path in files)
    assert any(path.name == "start.log" for path in files)
