import json
import logging

import pytest

from kpod_ray.config import RunConfig
from kpod_ray.tracking import NullTracker, WandbTracker, open_tracker

MINIMAL = {"name": "a", "teacher": {"kind": "file", "path": "-"}, "student": {"model": "tiny:0"}}


def config(mode):
    return RunConfig.model_validate({**MINIMAL, "tracking": {"mode": mode}})


def test_an_offline_run_leaves_its_file_and_needs_no_key(tmp_path):
    tracker = open_tracker(config("offline"), tmp_path)
    assert isinstance(tracker, WandbTracker)
    tracker.log({"train/train_step": 1, "train/loss": 0.5})
    tracker.finish()
    (file,) = tmp_path.rglob("*.wandb")
    assert file.stat().st_size > 0


def test_a_failing_tracker_says_so_once_and_goes_quiet(tmp_path, caplog):
    tracker = open_tracker(config("offline"), tmp_path)
    assert isinstance(tracker, WandbTracker)
    tracker.run.finish()  # W&B refuses to log to a finished run
    with caplog.at_level(logging.WARNING, logger="kpod"):
        tracker.log({"train/loss": 0.5})
        tracker.log({"train/loss": 0.4})
    tracker.finish()
    assert [record.message for record in caplog.records if "off from here" in record.message]
    assert tracker.run is None


def test_tables_and_pages_are_kept_beside_an_offline_run(tmp_path):
    tracker = open_tracker(config("offline"), tmp_path)
    tracker.log_table("arms", [{"arm": "kpod", "accuracy": 0.5}])
    tracker.log_table("none", [])
    tracker.log_html("page", "<!DOCTYPE html><title>a page</title>")
    assert tracker.run is not None
    tracker.finish()
    (table,) = tmp_path.rglob("media/table/arms*.json")
    assert json.loads(table.read_text())["columns"] == ["arm", "accuracy"]
    assert json.loads(table.read_text())["data"] == [["kpod", 0.5]]
    (page,) = tmp_path.rglob("media/html/page*.html")
    assert page.read_text() == "<!DOCTYPE html><title>a page</title>"


@pytest.mark.parametrize("rows", [[{"a": 1}, {"b": 2}], [{"a": object()}]])
def test_a_table_that_cannot_be_made_stops_no_run(tmp_path, caplog, rows):
    tracker = open_tracker(config("offline"), tmp_path)
    with caplog.at_level(logging.WARNING, logger="kpod"):
        tracker.log_table("arms", rows)
        tracker.log_html("page", "")
    tracker.finish()
    assert [record.message for record in caplog.records if "off from here" in record.message]
    following = open_tracker(config("offline"), tmp_path / "following")
    following.finish()
    assert list((tmp_path / "following").rglob("*.wandb"))


def test_a_folder_that_cannot_be_made_turns_tracking_off(tmp_path):
    (tmp_path / "file").write_text("")
    assert isinstance(open_tracker(config("offline"), tmp_path / "file" / "x"), NullTracker)


def test_disabled_tracking_makes_nothing(tmp_path):
    tracker = open_tracker(config("disabled"), tmp_path / "w")
    tracker.log({"train/loss": 1.0})
    tracker.log_table("arms", [{"arm": "kpod"}])
    tracker.log_html("page", "<p>")
    tracker.finish()
    assert not (tmp_path / "w").exists()
