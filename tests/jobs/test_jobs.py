"""A run submitted to a cluster of two groups, stopped inside the teacher phase and submitted again."""

import json
import threading
import time

import pyarrow.parquet as pq
import pytest

from benchmarks.local_groups import local_groups
from kpod_ray.pipeline.naming import PHASES
from tests.inference.endpoint_server import EndpointServer, answer

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

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


def settings(storage, url):
    student = "labels: {group: student}, num_threads: 1"
    return [
        *("configs/smoke.yaml", f"storage={storage}", "weighting=null", "schedule.num_stages=2"),
        f"teacher={{kind: endpoint, model: m, base_url: '{url}', max_concurrent: 2, "
        "fallback: reference}",
        "evaluation.backend=transformers",
        "resources.teacher={labels: {group: teacher}, rows_per_block: 2}",  # written at once
        f"resources.assess={{{student}}}",
        f"resources.train={{{student}, num_workers: 1}}",
    ]


def finished(storage):
    """Return when each artifact was finished, by its manifest."""
    return {path: path.stat().st_mtime_ns for path in storage.glob("*/*/manifest.json")}


def num_written(storage):
    """Return how many texts of the teacher are in files."""
    return sum(pq.read_metadata(path).num_rows for path in storage.glob("completions/*/*.parquet"))


def phases(manifests):
    return sorted(path.parts[-3] for path in manifests)


def wait_until(holds, cluster, job):
    """Wait for something that a job brings about."""
    while not holds():
        told = cluster.ask("GET", job).json()
        assert told["status"] in ("PENDING", "RUNNING"), cluster.ask("GET", f"{job}/logs").text
        time.sleep(0.2)


class Submitted:
    """What became of a run that was submitted twice."""

    def __init__(self, cluster, storage, teacher, url):
        self.cluster, self.storage, self.teacher = cluster, storage, teacher
        config, self.statuses = settings(storage, url), []
        for token in ("f" * 64, cluster.token):
            self.statuses.append(cluster.ask("GET", token=token).status_code)
        first = ["--no-wait", "--submission-id=first", "--", "python", "jobs/run.py"]
        status, printed = cluster.submit(*first, *config)
        assert status == 0, printed
        wait_until(
            lambda: num_written(storage) == NUM_ANSWERED < len(teacher.asked), cluster, "first"
        )
        self.first = cluster.stop("first")
        self.before, self.asked_before = finished(storage), list(teacher.asked)
        teacher.talks.set()
        self.second = cluster.submit("--", "python", "jobs/run.py", *config, "--until", "train")

    def manifest(self, name):
        told = json.loads((self.storage / "runs/smoke/artifacts.json").read_text())
        return json.loads((self.storage / told["folders"][name] / "manifest.json").read_text())


@pytest.fixture(scope="module")
def submitted(tmp_path_factory):
    teacher, storage = Teacher(), tmp_path_factory.mktemp("storage")
    with EndpointServer(teacher) as server:
        try:
            with local_groups({"teacher": 2, "student": 2}) as cluster:
                yield Submitted(cluster, storage, teacher, server.url)
        finally:
            teacher.talks.set()


def test_a_wrong_token_is_refused(submitted):
    assert submitted.statuses == [403, 200]


def test_the_upload_is_small(submitted):
    files = submitted.cluster.uploaded()
    models = sum(size for path, size in files.items() if "/models/builtin/" in path)
    assert 0 < models < 2e6  # before it is packed
    assert sum(files.values()) - models < 2e6
    assert {"jobs/run.py", "kpod_ray/report/templates/page.html", "configs/smoke.yaml"} <= set(
        files
    )
    assert not any(path.startswith(("tests/", "docs/", ".git", ".venv")) for path in files)


def test_a_run_that_is_stopped_goes_on_where_it_was(submitted):
    assert submitted.first == "STOPPED"
    status, printed = submitted.second
    assert status == 0, printed[-3000:]
    assert phases(submitted.before) == ["questions"]
    after = finished(submitted.storage)
    assert phases(after) == sorted(PHASES[: PHASES.index("train") + 1])
    assert {path: after[path] for path in submitted.before} == submitted.before


def test_what_the_teacher_had_answered_is_not_asked_again(submitted):
    asked, before = submitted.teacher.asked, submitted.asked_before
    answered, again = before[:NUM_ANSWERED], asked[len(before) :]
    assert sorted(answered + again) == sorted(set(asked))
    assert len(set(asked)) == NUM_QUESTIONS


def test_each_phase_ran_on_its_group(submitted):
    ids = {}
    for name in ("teacher", "assess", "train"):
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
