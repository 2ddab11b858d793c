"""A run that is submitted to a cluster of two groups, stopped and submitted again; results in an S3."""

import json
import time

import pytest
from pyarrow import fs as pafs

from benchmarks.object_server import object_server
from tests.cluster.local_groups import Groups
from tests.conftest import REPOSITORY
from tests.models.endpoint_server import EndpointServer, answer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ON_CLUSTER = ("teacher", "assess", "train", "evaluate_before", "evaluate")


class Submitted:
    """What became of a run that was submitted twice."""

    def __init__(self, groups, objects):
        self.groups, self.objects = groups, objects

    def text(self, path):
        """Return the text of an object of the bucket."""
        return self.objects.open_input_stream(f"runs/{path}").read().decode()

    def artifacts(self):
        """Return the folder of every artifact by name."""
        return json.loads(self.text("runs/smoke/artifacts.json"))

    def manifest(self, name):
        """Return the manifest of an artifact."""
        return json.loads(self.text(f"{self.artifacts()[name]}/manifest.json"))

    def finished(self):
        """Return when each finished artifact was finished, by name."""
        try:
            folders = self.artifacts()
        except OSError:  # not begun yet
            return {}
        paths = [f"runs/{folder}/manifest.json" for folder in folders.values()]
        infos = self.objects.get_file_info(paths)
        found = zip(folders, infos, strict=True)
        return {name: i.mtime for name, i in found if i.type == pafs.FileType.File}


def overrides(url):
    teacher = f"{{kind: endpoint, model: m, url: '{url}', max_new_tokens: 32, missing: reference}}"
    student = "labels: {group: student}, num_cpus: 0.5"
    return [
        *(
            "storage=s3://runs",
            f"teacher={teacher}",
            "weigher=null",
            "evaluation.backend=transformers",
        ),
        "resources.teacher={labels: {group: teacher}, num_cpus: 0.5}",
        f"resources.assess={{{student}}}",
        f"resources.train={{{student}, num_workers: 2, num_threads: 1}}",
        f"resources.evaluate={{{student}}}",
    ]


@pytest.fixture(scope="module")
def submitted():
    command = [
        *("--runtime-env", str(REPOSITORY / "configs/cluster/runtime_env.yaml")),
        *("--working-dir", str(REPOSITORY)),
    ]
    with (
        object_server() as server,
        EndpointServer(lambda number, body: (200, {}, answer())) as endpoint,
    ):
        server.tell("bucket runs")
        host = server.environment["AWS_ENDPOINT_URL"].removeprefix("http://")
        objects = pafs.S3FileSystem(
            access_key=server.environment["AWS_ACCESS_KEY_ID"],
            secret_key=server.environment["AWS_SECRET_ACCESS_KEY"],
            endpoint_override=host,
            scheme="http",
            region="us-east-1",
        )
        groups = Groups({"teacher": 2, "student": 3}, server.environment)
        try:
            run = Submitted(groups, objects)
            job = ["python", "jobs/run.py", "configs/smoke.yaml", *overrides(endpoint.url)]
            run.denied = groups.job("list", token="f" * 64)
            status, printed = groups.job(
                "submit", "--no-wait", "--submission-id=first", *command, "--", *job
            )
            assert status == 0, printed
            deadline = time.monotonic() + 300
            while "assess" not in run.finished() and time.monotonic() < deadline:
                time.sleep(0.2)
            run.stopped = groups.job("stop", "first")
            run.before = run.finished()
            run.second = groups.job("submit", "--submission-id=second", *command, "--", *job)
            run.uploaded = groups.uploaded()
            yield run
        finally:
            groups.stop()


def test_a_wrong_token_is_refused(submitted):
    status, printed = submitted.denied
    assert status != 0
    assert submitted.groups.token not in printed


def test_the_upload_is_small(submitted):
    files = submitted.uploaded
    assert sum(files.values()) < 2e6  # before it is packed
    assert {"jobs/run.py", "kpod_ray/report/page.html", "configs/smoke.yaml"} <= set(files)
    assert not any(path.startswith(("tests/", "docs/", ".git", ".venv")) for path in files)


def test_a_run_that_is_stopped_goes_on_where_it_was(submitted):
    status, printed = submitted.second
    assert status == 0, printed[-3000:]
    assert {"questions", "teacher", "weigh", "assess"} <= set(submitted.before)
    assert "evaluate" not in submitted.before
    after = submitted.finished()
    assert set(after) == set(submitted.artifacts())
    assert {name: after[name] for name in submitted.before} == submitted.before


def test_each_phase_ran_on_its_group(submitted):
    for name in ON_CLUSTER:
        nodes = submitted.manifest(name)["nodes"]
        group = "teacher" if name == "teacher" else "student"
        assert [node["labels"] for node in nodes] == [{"group": group}], name
        assert len(nodes[0]["id"]) == 56


def test_no_token_and_no_key_is_in_what_was_written(submitted):
    selector = pafs.FileSelector("runs", recursive=True)
    files = [i for i in submitted.objects.get_file_info(selector) if i.type == pafs.FileType.File]
    secrets = (submitted.groups.token, "AWS_SECRET_ACCESS_KEY")
    for file in files:
        content = submitted.objects.open_input_stream(file.path).read()
        assert not any(secret.encode() in content for secret in secrets), file.path
    assert any(file.path.endswith("student/model.safetensors") for file in files)
    assert not any("/fit/" in file.path for file in files)
