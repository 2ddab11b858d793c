"""SIGINT and SIGTERM to ``kpod`` in every phase; then the same command goes on."""

import json
import os
import random
import re
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.numpy import load_file

from kpod_ray.config import load
from kpod_ray.pipeline.naming import open_run
from tests.cli.commands import MOST_SECONDS, Command
from tests.conftest import REPOSITORY
from tests.inference.endpoint_server import EndpointServer, answer

SMOKE = str(REPOSITORY / "configs" / "smoke.yaml")
SEED = int(os.environ.get("KPOD_SEED", random.randrange(2**32)))
ADAPT_STEPS = 8
MOST_CONCURRENT = 2
NUM_TEXTS = 16
"""Texts of a run: two of each of eight questions."""
ENDINGS = (
    ("teacher", signal.SIGINT),
    ("weigh", signal.SIGTERM),
    ("train", signal.SIGINT),
    ("evaluate", signal.SIGTERM),
)
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


@pytest.mark.parametrize("signum", list(CODES))
def test_before_ray_starts_a_signal_ends_the_command_in_one_line(tmp_path, signum):
    words = ["run", SMOKE, f"storage={tmp_path / 'a b'}", "--until", "questions"]
    command = Command(tmp_path / "c", *words)
    command.wait_until(command.catches_signals)
    time.sleep(random.Random(SEED + signum).uniform(0, 2))
    code, line, seconds = command.end(signum)
    assert code == CODES[signum]
    assert line.startswith(f"kpod: ended by {NAMES[signum]}: ")
    assert line.endswith(
        f"python -m kpod_ray run {SMOKE} 'storage={tmp_path}/a b' --until questions"
    )
    assert seconds < 5


def test_a_command_that_only_looks_is_ended_the_same_way(tmp_path):
    command = Command(tmp_path / "c", "doctor", SMOKE, f"storage={tmp_path}")
    command.wait_until(command.catches_signals)
    code, line, _ = command.end(signal.SIGTERM)
    assert code == 143
    assert line.startswith("kpod: ended by SIGTERM: ")


def slow(number, body):
    time.sleep(0.3)
    return 200, {}, answer("It is 5. The answer is 5.")


@pytest.fixture
def runs(tmp_path_factory):
    """A server, and words of a command with an own storage each for two runs."""
    folder = tmp_path_factory.mktemp("s")
    with EndpointServer(slow) as server:
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(settings(server.url)))
        untouched, ended = ([str(config), f"storage={folder / name}"] for name in "ab")
        Command(folder / "c", "run", *untouched).finish()
        yield folder, server, untouched, ended


def num_requests(server):
    """Return the number of requests for a text; a run also asks for the models, without a cost."""
    return sum("messages" in request for request in server.seen)


def settings(url):
    """Return a config whose phases take seconds, without vLLM."""
    return {
        "name": "signals",
        "questions": {"source": "arithmetic", "num_train": 8, "num_test": 8, "max_steps": 3},
        "teacher": {
            "kind": "endpoint",
            "base_url": url,
            "model": "m",
            "max_concurrent": MOST_CONCURRENT,
            "samples": {"per_question": 2},
            "fallback": "reference",
        },
        "weighting": {
            "num_seeds": 1,
            "num_adapt_steps": ADAPT_STEPS,
            "num_train_steps": 80,
            "validate_every": 2,
            "patience": 100,  # a training that ends early would be over before the signal
            "global_batch_size": 4,
        },
        "schedule": {"num_stages": 10, "num_clusters": 2},
        "student": {"model": "tiny:1", "learning_rate": 1e-3, "global_batch_size": 4},
        "evaluation": {"backend": "transformers", "max_new_tokens": 120, "batch_size": 1},
        "resources": {"train": {"num_workers": 2, "num_cpus": 0.5, "num_threads": 1}},
        "tracking": {"mode": "disabled"},
    }


def artifacts(words):
    return open_run(load(words[0], words[1:])).artifacts


def files(artifact, phase):
    """Return the files of a phase that are worth keeping."""
    pattern = {"weigh": "fit/checkpoint*", "train": "fit/checkpoint*"}
    return set(Path(artifact.store.root, artifact.folder).glob(pattern.get(phase, "*/*")))


def start(runs, phase):
    """Start the command, and return it once it has added something to a phase."""
    folder, server, _, ended = runs
    artifact = artifacts(ended)[phase]
    before, num_before = files(artifact, phase), num_requests(server)

    def is_under_way():
        if phase == "teacher":
            return num_requests(server) >= num_before + 6
        return files(artifact, phase) - before

    command = Command(folder / "c", "run", *ended)
    assert command.wait_until(is_under_way)
    return command


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_command_that_is_ended_in_every_phase_makes_what_an_untouched_one_makes(runs):
    for phase, signum in ENDINGS:
        end_a_phase(runs, phase, signum)
    end_at_once_by_a_second_signal(runs)
    go_on_to_the_end(runs)


def end_a_phase(runs, phase, signum):
    """End the command in a phase by a signal; check that it tells what is kept."""
    _, server, _, ended = runs
    command = start(runs, phase)
    time.sleep(random.Random(f"{SEED}{phase}{signum}").uniform(0, 1.5))
    code, line, seconds = command.end(signum)
    assert code == CODES[signum]
    assert seconds < MOST_SECONDS
    assert re.match(rf"kpod: ended by {NAMES[signum]}: .*{phase} (are|is) kept; the same", line)
    if phase == "teacher":
        # lost are requests under way at the signal, and those begun between it and the end
        assert finished_texts(ended) >= num_requests(server) - NUM_TEXTS - 2 * MOST_CONCURRENT
    if phase in ("weigh", "train"):
        kept = int(re.search(r"(\d+) of \d+ train steps", line)[1])
        assert kept == saved_train_steps(ended, phase)


def finished_texts(words):
    """Return the number of completions in the storage."""
    root = Path(artifacts(words)["teacher"].store.root)
    return sum(pq.read_metadata(file).num_rows for file in root.glob("completions/*/*.parquet"))


def saved_train_steps(words, phase):
    """Return the number of train steps in the newest checkpoint."""
    artifact = artifacts(words)[phase]
    files = Path(artifact.store.root, artifact.folder, "fit").glob("checkpoint*/progress.json")
    content = json.loads(max(files).read_text())
    progress = content["progress"]
    adapted = ADAPT_STEPS if content["part"] == "training-0" else 0
    return progress["train_steps"] if phase == "train" else adapted + progress["train_step"]


def end_at_once_by_a_second_signal(runs):
    """End a command that can't save, because its workers are suspended."""
    command = start(runs, "evaluate")
    processes = psutil.Process(command.process.pid).children(recursive=True)
    stopped = [process for process in processes if "ray::" in process.name()]
    for process in stopped:
        process.suspend()
    command.process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert command.process.poll() is None
    code, _, seconds = command.end(signal.SIGINT)
    assert code == 130
    assert seconds < 3


def go_on_to_the_end(runs):
    """Let the same command finish; compare its artifacts with the untouched one's."""
    folder, server, untouched, ended = runs
    Command(folder / "c", "run", *ended).finish()
    assert num_requests(server) <= 2 * NUM_TEXTS + 2 * MOST_CONCURRENT
    expected, found = artifacts(untouched), artifacts(ended)
    for phase, table in [
        ("teacher", "rationales"),
        ("plan", "schedule"),
        ("evaluate", "predictions"),
    ]:
        assert found[phase].read(table).equals(expected[phase].read(table))
    ours, theirs = (
        load_file(f"{a['train'].store.root}/{a['train'].folder}/student/model.safetensors")
        for a in (found, expected)
    )
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-5)
