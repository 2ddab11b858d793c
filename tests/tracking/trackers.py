"""Trackers of runs for the tests, and what they leave behind."""

import os
from pathlib import Path

import psutil

from kpod_ray.config import RunConfig
from kpod_ray.report.plotting import Histogram
from kpod_ray.tracking import Markup, PhaseSummary, open_tracker

MINIMAL = {"name": "a", "teacher": {"kind": "file", "path": "-"}, "student": {"model": "tiny:0"}}
ADDRESS = "s3://bucket/kpod/teacher/0123abcd"


def config(mode, **tracking):
    return RunConfig.model_validate({**MINIMAL, "tracking": {"mode": mode, **tracking}})


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


def uploaders():
    family = psutil.Process().children(recursive=True)
    return [child for child in family if "uploader.py" in " ".join(child.cmdline())]


def alone():
    """Return this process's environment without its own wandb service."""
    return {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
