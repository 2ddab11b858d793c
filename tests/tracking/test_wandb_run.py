"""A run on W&B: what is written arrives once, also of a run that is resumed or killed."""

import json
import logging
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kpod_ray.tracking import open_tracker
from kpod_ray.tracking.wandb_run import run_id
from kpod_ray.tracking.wandb_upload import send
from tests.tracking.trackers import alone, config, opened, phase_summary, uploaders, warnings


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


KILLED = """
import sys, time
from kpod_ray.storage.store import Store
from kpod_ray.tracking.wandb_run import FLUSH_SECONDS
from tests.tracking.trackers import opened

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
