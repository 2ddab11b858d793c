"""Two runs at the same time on one storage, as real processes: what is paid and trained twice."""

import os
import re
import subprocess
import sys
import time

import pytest
import yaml

from tests.inference.endpoint_server import EndpointServer, answer

pytestmark = [pytest.mark.ray, pytest.mark.slow]
NUM_TRAIN = 12


def slow_answer(number, body):
    """Answer a chat in a time in which another run would ask the same; there is no list of models."""
    if "messages" not in body:
        return 404, {}, {}
    time.sleep(1)
    return 200, {}, answer("It is 5.")


def config_file(folder, name, server, **filters):
    teacher = {
        "kind": "endpoint",
        "model": "m",
        "base_url": server.url,
        "max_concurrent": 2,
        "fallback": "reference",
        "filters": filters,
    }
    config = {
        "name": name,
        "storage": str(folder / "store"),
        "questions": {
            "source": "arithmetic",
            "num_train": NUM_TRAIN,
            "num_test": 2,
            "max_steps": 3,
        },
        "teacher": teacher,
        "weighting": None,
        "schedule": {"num_stages": 2, "num_clusters": 2},
        "student": {"model": "tiny:1", "learning_rate": 1e-3, "global_batch_size": 4},
        "resources": {"train": {"num_workers": 1, "num_threads": 1}, "object_store_gib": 0.1},
        "tracking": {"mode": "disabled"},
    }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def start(file, until):
    command = [sys.executable, "-m", "kpod_ray", "run", str(file), "--until", until]
    environment = {**os.environ, "RAY_ADDRESS": "local", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def made(output):
    return re.findall(r"^(\w+) \.\.\.$", output, re.MULTILINE)


def waited(output):
    pattern = r"^phase (\w+): waiting for host \S+, process (\d+), which is making it$"
    return re.findall(pattern, output, re.MULTILINE)


def counts(output):
    return sorted(re.findall(r"^(\w+ )(?:[\d.]+ s|was finished)(: .*)$", output, re.MULTILINE))


def test_runs_at_the_same_time_pay_and_train_once(tmp_path):
    """The same run twice, and one whose filters differ: its teacher artifact is one of its own."""
    with EndpointServer(slow_answer) as server:
        same = config_file(tmp_path, "same", server)
        other = config_file(tmp_path, "other", server, allow_leaks=True)
        runs = [start(same, "train"), start(same, "train"), start(other, "teacher")]
        outputs, errors = zip(*(run.communicate(timeout=400) for run in runs), strict=True)
        requests = [row for row in server.seen if "messages" in row]
    assert [run.returncode for run in runs] == [0, 0, 0], errors
    assert len(requests) == NUM_TRAIN
    # Each artifact was made by exactly one run; the others had it for nothing.
    names = [name for output in outputs for name in made(output)]
    assert sorted(names) == sorted(
        ["questions", *["teacher"] * 2, "weigh", "assess", "plan", "train"]
    )
    assert counts(outputs[0]) == counts(outputs[1])
    assert len(counts(outputs[0])) == 6
    # Whoever waited said so once a phase, and for whom.
    numbers = [run.pid for run in runs]
    for run, output in zip(runs, outputs, strict=True):
        for _, pid in waited(output):
            assert int(pid) in set(numbers) - {run.pid}
    told = [phase for output in outputs for phase, _ in waited(output)]
    assert told.count("teacher") == 2
    assert len(list(tmp_path.glob("store/train/*/manifest.json"))) == 1
    assert len(list(tmp_path.glob("store/teacher/*/manifest.json"))) == 2
    assert list(tmp_path.glob("store/leases/*")) == []
