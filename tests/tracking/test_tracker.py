"""A run's tracker: what is written arrives, nothing waits, and failures stop no run."""

import json
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from kpod_ray.config import RunConfig
from kpod_ray.report.plotting import Histogram
from kpod_ray.storage.store import Store
from kpod_ray.tracking import (
    Markup,
    NullTracker,
    PhaseSummary,
    has_wandb_login,
    open_tracker,
)
from kpod_ray.tracking.tracker import WandbTracker
from kpod_ray.tracking.wandb_run import run_id
from kpod_ray.tracking.wandb_upload import send
from tests.tracking.wandb_server import hanging_server, refusing_server

MINIMAL = {"name": "a", "teacher": {"kind": "file", "path": "-"}, "student": {"model": "tiny:0"}}
ADDRESS = "s3://bucket/kpod/teacher/0123abcd"


def config(mode, **tracking):
    return RunConfig.model_validate({**MINIMAL, "tracking": {"mode": mode, **tracking}})


@pytest.fixture
def store(tmp_path):
    return Store.open(str(tmp_path / "store"))


def opened(store, mode="offline", **tracking):
    return open_tracker(config(mode, **tracking), Path(store.root) / "runs" / "a")


def phase_summary():
    return PhaseSummary(
        numbers={"phase/teacher/kept": 3},
        curves=[{"schedule/stage": 1, "schedule/ceiling": 2.5}],
        histograms={"histograms/token_weights": Histogram((0, 0.5, 1), (7, 3))},
        tables={"arms": [{"arm": "kpod", "text": Markup("<b>x</b>"), "none": None}], "empty": []},
        pages={"page": "<!DOCTYPE html><title>a page</title>"},
        outcome={"outcome/accuracy": 0.5},
        artifact=("teacher", ADDRESS),
    )


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "kpod"]


def test_wandbs_own_reader_finds_all_of_an_offline_run(store, tmp_path, server, monkeypatch, key):
    monkeypatch.delenv("WANDB_API_KEY")
    tracker = opened(store, group="sweep-1", project="p", entity="team")
    tracker.log({"train/train_step": 1, "train/loss": 0.5})
    tracker.log_summary("teacher/1", phase_summary)
    tracker.finish()
    assert not server.sent
    staged = [file.read_bytes() for file in (tmp_path / "store").rglob("staging/*")]
    assert b"<b>x</b>" in staged
    monkeypatch.setenv("WANDB_API_KEY", key)
    send(tmp_path / "store")
    ((run_id, run),) = server.runs.items()
    assert (run["displayName"], run["groupName"]) == ("a", "sweep-1")
    assert (run["project"], run["entity"]) == ("p", "team")
    settings = json.loads(run["config"])
    assert settings["schedule"]["value"]["growth"] == 0.5
    assert settings["schedule"]["value"]["full_stage"] is None
    assert settings["comparison"]["value"]["arms"][0] == "answer_only"
    rows = server.history[run_id]
    assert (rows[0]["train/loss"], rows[1]["schedule/ceiling"]) == (0.5, 2.5)
    assert rows[2]["histograms/token_weights"]["values"] == [7, 3]
    assert rows[2]["histograms/token_weights"]["bins"] == [0, 0.5, 1]
    summary = server.summary[run_id]
    assert (summary["outcome/accuracy"], summary["phase/teacher/kept"]) == (0.5, 3)
    contents = {name.split("/")[-1].split("_")[0]: text for name, text in server.files.items()}
    table = json.loads(contents["arms"])
    assert table["columns"] == ["arm", "text", "none"]
    assert (table["data"][0][0], table["data"][0][2]) == ("kpod", None)
    assert contents["page"] == phase_summary().pages["page"].encode()
    names = {row["artifactCollectionName"]: row["artifactTypeName"] for row in server.artifacts}
    tables = {f"run-{run_id}-{name}": "run_table" for name in ("arms", "empty")}
    assert names == {"teacher-0123abcd": "teacher", **tables}


def test_a_run_that_is_resumed_goes_on_and_tells_nothing_twice(store, tmp_path, server, key):
    for loss in (0.5, 0.25):
        tracker = opened(store)
        tracker.log({"train/train_step": 1, "train/loss": loss})
        tracker.log_summary("teacher/1", phase_summary)
        tracker.finish()
    assert "sent 2 W&B files" in send(tmp_path / "store")
    ((_, rows),) = server.history.items()
    losses = {step: row["train/loss"] for step, row in rows.items() if "train/loss" in row}
    assert losses == {0: 0.5, 3: 0.25}
    assert sum("arms" in row for row in rows.values()) == 1
    assert len(server.artifacts) == 3
    assert send(tmp_path / "store").startswith("nothing to send: W&B has all 2 W&B files")


def test_an_online_run_is_sent_while_it_runs_and_its_key_is_nowhere(store, server, key, caplog):
    caplog.set_level(logging.DEBUG)
    earlier = opened(store)
    earlier.log({"train/train_step": 1, "train/loss": 1.0})
    earlier.finish()
    tracker = opened(store, "online")
    tracker.log({"train/train_step": 1, "train/loss": 0.5})
    for _ in range(300):
        if server.runs:
            break
        time.sleep(0.1)
    assert server.runs, "W&B knows nothing of it before the end"
    tracker.log({"train/train_step": 2, "train/loss": 0.25})
    tracker.finish()
    ((_, rows),) = server.history.items()
    assert {step: row["train/loss"] for step, row in rows.items()} == {0: 1.0, 1: 0.5, 2: 0.25}
    assert not uploaders()
    assert not warnings(caplog)
    files = [file for file in Path(store.root).rglob("*") if file.is_file()]
    assert {"upload.log", "debug.log", "debug-internal.log"} <= {file.name for file in files}
    assert not [file for file in files if key.encode() in file.read_bytes()]
    assert key not in caplog.text
    assert key.encode() not in b"".join([*server.sent, *server.files.values()])


def uploaders():
    family = psutil.Process().children(recursive=True)
    return [child for child in family if "uploader.py" in " ".join(child.cmdline())]


@pytest.mark.usefixtures("key")
def test_a_dead_wandb_costs_little_and_its_files_stay(store, monkeypatch, caplog, server):
    for count, dead in enumerate([refusing_server, hanging_server], start=1):
        with dead() as url:
            monkeypatch.setenv("WANDB_BASE_URL", url)
            tracker = opened(store, "online")
            started = time.monotonic()
            for step in range(1000):
                tracker.log({"train/train_step": step, "train/loss": 0.5})
            assert time.monotonic() - started < 1
            tracker.finish()
        assert not uploaders()
        assert len(warnings(caplog)) == count
        assert "kpod sync" in warnings(caplog)[-1]
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    assert "sent 2 W&B files" in send(Path(store.root))
    assert len(next(iter(server.history.values()))) == 2000


HANGING = """
import os, psutil, signal, sys, time
from kpod_ray.tracking.wandb_run import WandbRun
from kpod_ray.tracking.tracker import MAX_WAITING, WandbTracker
from pathlib import Path
from tests.tracking.test_tracker import config

folder = Path(sys.argv[1])
opened = []
tracker = WandbTracker(
    lambda: opened.append(WandbRun(config("offline"), folder, False)) or opened[0], 1.0
)
while not opened:
    time.sleep(0.01)
(service,) = [p for p in psutil.Process().children() if p.name() == "wandb-core"]
service.send_signal(signal.SIGSTOP)
started = time.monotonic()
blob = {f"metric {number}": 0.5 for number in range(100)}
for step in range(MAX_WAITING + 1000):
    tracker.log(blob)
assert time.monotonic() - started < 5, "logging has waited"
assert tracker.num_dropped, "nothing was dropped"
tracker.finish()
assert not service.is_running() or service.status() == "zombie"
print(time.monotonic() - started)
"""


KILLED = """
import sys, time
from kpod_ray.report.plotting import Histogram
from kpod_ray.storage.store import Store
from kpod_ray.tracking.wandb_run import FLUSH_SECONDS
from tests.tracking.test_tracker import opened

tracker = opened(Store.open(sys.argv[1]), "online")
tracker.log({"train/loss": 0.5})
while tracker._run is None:
    time.sleep(0.01)
time.sleep(FLUSH_SECONDS + 1)
print("written", flush=True)
time.sleep(100)
"""


@pytest.mark.usefixtures("key")
def test_a_run_that_is_killed_is_sent_as_far_as_it_was_written(tmp_path, server):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=alone()) as run:
        assert run.stdout.readline() == b"written\n"
        run.kill()
    for _ in range(300):
        if list(tmp_path.rglob("*.synced")):
            break
        time.sleep(0.1)
    assert [rows[0]["train/loss"] for rows in server.history.values()] == [0.5]


def alone():
    """Return this process's environment without its own wandb service."""
    return {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}


def test_wandbs_process_that_hangs_does_not_hang_the_run(tmp_path):
    command = [sys.executable, "-c", HANGING, str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=alone()
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "doesn't answer" in done.stderr
    assert float(done.stdout) < 10


def test_a_failure_is_said_once_and_then_it_is_quiet(store, caplog):
    tracker = opened(store)
    tracker.log_summary("broken", lambda: PhaseSummary(tables={"arms": [{"a": object()}]}))
    tracker.log_summary("more", lambda: PhaseSummary(tables={"arms": [{"a": 1}, {"b": 2}]}))
    tracker.log({"train/loss": 0.5})
    tracker.finish()
    assert [line for line in warnings(caplog) if "off from here" in line] == warnings(caplog)
    assert len(warnings(caplog)) == 1


class ClosedRun:
    """A run that keeps the exit code with which it is closed."""

    upload = None

    def __init__(self):
        self.codes = []

    def log(self, metrics):
        pass

    def finish(self, exit_code):
        self.codes.append(exit_code)


@pytest.mark.parametrize(
    ("fails", "exit_code", "expected"),
    [(False, 0, 0), (False, 1, 1), (True, 0, 1), (True, 3, 1)],
)
def test_a_run_is_closed_as_failed_after_a_failure_of_tracking(fails, exit_code, expected):
    run = ClosedRun()
    tracker = WandbTracker(lambda: run)
    tracker.log({"train/loss": 0.5})
    if fails:
        tracker.log_summary("broken", lambda: PhaseSummary())  # a ClosedRun takes no summaries
        while not run.codes:
            time.sleep(0.01)
    tracker.finish(exit_code)
    assert run.codes == [expected]


def test_two_runs_are_open_in_one_process(store, caplog):
    trackers = [open_tracker(config("offline"), Path(store.root) / name) for name in "ab"]
    for tracker in trackers:
        tracker.log({"train/loss": 0.5})
    for tracker in trackers:
        tracker.finish()
    files = Path(store.root).rglob("offline-run-*/*.wandb")
    assert sorted(file.parents[2].name for file in files) == ["a", "b"]
    assert not warnings(caplog)


def test_one_run_is_logged_by_one_process_at_a_time(store, caplog):
    first = opened(store)
    first.log_summary("teacher", phase_summary)
    keys = Path(store.root) / "runs/a/wandb/told.json"
    while not keys.exists():
        time.sleep(0.05)
    second = opened(store)
    second.log_summary("teacher", phase_summary)
    second.finish()
    assert warnings(caplog) == ["W&B is off from here on: another process logs the run a"]
    first.finish()
    third = opened(store)
    third.finish()
    assert len(list(Path(store.root).rglob("offline-run-*/*.wandb"))) == 2
    assert len(warnings(caplog)) == 1


def test_a_folder_that_cannot_be_made_turns_tracking_off(store, caplog):
    store.write_text("runs", "a file")
    tracker = opened(store)
    tracker.log({"train/loss": 1.0})
    tracker.finish()
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("disabled", ["setting", "environment"])
def test_disabled_tracking_makes_nothing_and_collects_nothing(store, monkeypatch, disabled):
    if disabled == "environment":
        monkeypatch.setenv("WANDB_MODE", "disabled")
    tracker = opened(store, "disabled" if disabled == "setting" else "auto")
    assert isinstance(tracker, NullTracker)
    tracker.log({"train/loss": 1.0})
    tracker.log_summary("never", lambda: 1 / 0)
    tracker.finish()
    assert not store.exists("runs")


def test_a_login_is_a_key_in_the_environment_or_in_the_netrc_of_the_server(
    monkeypatch, tmp_path, key
):
    assert has_wandb_login()
    monkeypatch.delenv("WANDB_API_KEY")
    assert not has_wandb_login()
    (tmp_path / "netrc").write_text(f"machine wandb.example login user password {key}\n")
    monkeypatch.setenv("WANDB_BASE_URL", "https://other.example")
    assert not has_wandb_login()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example")
    assert has_wandb_login()


@pytest.mark.usefixtures("server")
def test_online_without_a_key_says_so_at_the_end(store, caplog):
    tracker = opened(store, "online")
    tracker.log({"train/loss": 0.5})
    tracker.finish()
    (line,) = warnings(caplog)
    assert "API key" in line
    assert "kpod sync" in line


def test_an_id_is_kept_on_a_disk_and_follows_from_the_address_of_an_object_store(tmp_path):
    kept = run_id(str(tmp_path), tmp_path)
    assert kept == run_id(str(tmp_path), tmp_path) == (tmp_path / "wandb_id").read_text()
    (tmp_path / "other").mkdir()
    assert run_id(str(tmp_path), tmp_path / "other") != kept
    shared = run_id("s3://bucket/kpod", Path("runs/a"))
    assert shared == run_id("s3://bucket/kpod", Path("runs/a"))
    assert shared != run_id("s3://bucket/kpod", Path("runs/b"))
    assert re.fullmatch("[0-9a-f]{16}", shared)
    assert re.fullmatch("[0-9a-f]{16}", kept)


def test_auto_is_offline_without_a_key(store):
    tracker = opened(store, "auto")
    tracker.finish()
    assert isinstance(tracker, WandbTracker)
    assert [file.name for file in Path(store.root).rglob("*.wandb")]
    assert not list(Path(store.root).rglob("upload.log"))
