"""What is known of a sweep survives in JSON; what isn't a record of the sweep is told or ignored."""

import json
import math

import pytest

from kpod_ray.errors import KpodError
from kpod_ray.report.sweep.data import FAILED, FINISHED, STOPPED
from kpod_ray.storage.store import Store
from kpod_ray.sweep.proposals import propose
from kpod_ray.sweep.records import TrialRecords
from tests.sweep.planted import config_of

CONFIG = config_of(search="random", num_trials=5)


def records_in(folder):
    return TrialRecords(Store.open(str(folder)), "s", CONFIG)


def test_a_record_that_is_read_again_is_the_one_that_was_written(tmp_path):
    records = records_in(tmp_path)
    assert records.trials() == []
    for number in (3, 0, 1, 2):
        records.start(number, propose(CONFIG, 0, number, []))
    for percent, value in ((50, 0.1 + 0.2), (12.5, 1 / 3), (100, math.inf), (50, 2 / 3)):
        records.add_point(1, percent, value)
    records.end(0, FINISHED)
    records.end(1, STOPPED)
    records.end(3, FAILED, 'it "broke" — \\ twice')
    again = records_in(tmp_path)
    assert again.trials() == records.trials()
    assert [trial.trial_id for trial in again.trials()] == ["0000", "0001", "0002", "0003"]
    assert again.trials()[1].curve == ((12.5, 1 / 3), (50, 2 / 3), (100, math.inf))
    assert list(again.unfinished()) == [2, 3]
    assert 3 in again
    assert 4 not in again


def test_a_trial_that_is_run_again_keeps_its_points_and_settings(tmp_path):
    records, settings = records_in(tmp_path), propose(CONFIG, 0, 2, [])
    records.start(2, settings)
    records.add_point(2, 12.5, 0.5)
    records.end(2, FAILED, "why")
    started = records.start(2, settings)
    assert (started.state, started.error, started.curve) == ("running", "", ((12.5, 0.5),))


def test_a_value_that_is_no_number_is_kept(tmp_path):
    records = records_in(tmp_path)
    records.start(0, propose(CONFIG, 0, 0, []))
    records.add_point(0, 100, math.nan)
    assert math.isnan(records_in(tmp_path).trials()[0].score)


@pytest.mark.parametrize(
    "change",
    [
        lambda row: b"",
        lambda row: json.dumps(row).encode()[:-3],
        lambda row: b"\xff\xfe" + json.dumps(row).encode(),
        lambda row: b"[" * 100_000,
        lambda row: b"null",
        lambda row: json.dumps(row | {"state": "done"}).encode(),
        lambda row: json.dumps(row | {"curve": [[1, "x"]]}).encode(),
        lambda row: json.dumps(row | {"settings": {"teacher.url": "http://x"}}).encode(),
        lambda row: json.dumps(
            row | {"settings": row["settings"] | {"schedule.growth": 7}}
        ).encode(),
        lambda row: json.dumps({key: row[key] for key in row if key != "settings"}).encode(),
    ],
)
def test_a_damaged_record_is_named(tmp_path, change):
    records = records_in(tmp_path)
    records.start(1, propose(CONFIG, 0, 1, []))
    file = tmp_path / "sweeps/s/0001.json"
    file.write_bytes(change(json.loads(file.read_text())))
    with pytest.raises(
        KpodError, match=r"^the saved state of the sweep in .*/sweeps/s/0001.json is damaged; del"
    ) as caught:
        records_in(tmp_path)
    assert "\n" not in str(caught.value)


def test_files_of_others_are_not_read(tmp_path):
    records = records_in(tmp_path)
    records.start(1, propose(CONFIG, 0, 1, []))
    for name in ("0009.json", "1.json", "tuner.pkl", "0001.json.bak", "0002.json.d"):
        (tmp_path / "sweeps/s" / name).write_bytes(b"\x80\x04nothing")
    assert len(records_in(tmp_path).trials()) == 1
