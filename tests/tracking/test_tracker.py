"""A run's tracker: nothing waits for W&B, and failures stop no run."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from kpod_ray.tracking import NullTracker, PhaseSummary
from kpod_ray.tracking.tracker import WandbTracker
from kpod_ray.tracking.wandb_upload import send
from tests.tracking.trackers import alone, opened, uploaders, warnings
from tests.tracking.wandb_server import hanging_server, refusing_server


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
from tests.tracking.trackers import config

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


@pytest.mark.usefixtures("server")
def test_online_without_a_key_says_so_at_the_end(store, caplog):
    tracker = opened(store, "online")
    tracker.log({"train/loss": 0.5})
    tracker.finish()
    (line,) = warnings(caplog)
    assert "API key" in line
    assert "kpod sync" in line


def test_auto_is_offline_without_a_key(store):
    tracker = opened(store, "auto")
    tracker.finish()
    assert isinstance(tracker, WandbTracker)
    assert [file.name for file in Path(store.root).rglob("*.wandb")]
    assert not list(Path(store.root).rglob("upload.log"))
