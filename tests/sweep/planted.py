"""A sweep over a planted objective, its driver to be killed; marks which trials came to their end.

Runs as a process of its own.
"""

import dataclasses
import functools
import json
import math
import os
import sys
import time
from pathlib import Path

from kpod_ray.cluster.connection import connect
from kpod_ray.config import ResourcesConfig, SweepConfig
from kpod_ray.storage.store import Store
from kpod_ray.sweep.tuner import Sweep, tune_trials

SPACE = {"schedule.growth": {"uniform": [0, 1]}, "student.learning_rate": {"loguniform": [1e-6, 1]}}

KILLED = {"search": "random", "early_stopping": "none", "num_trials": 8}
"""Settings of the sweep whose driver is killed."""


def planted(settings):
    """Lowest, and 0, at a growth of 0.7 and a learning rate of 1e-3."""
    growth, rate = settings["schedule.growth"], settings["student.learning_rate"]
    return (growth - 0.7) ** 2 + (math.log10(rate) / 3 + 1) ** 2 / 4


def scripted(marks, seconds, trial_id, settings, report):
    for percent in (12.5, 50):
        time.sleep(seconds)
        report(percent, planted(settings) + 1 / percent)
    with open(f"{marks}/{trial_id}", "a") as file:
        file.write("finished\n")
    return planted(settings)


def run(folder, seconds, **settings):
    """Run the sweep; its marks are in ``marks``."""
    os.makedirs(f"{folder}/marks", exist_ok=True)
    sweep = Sweep(config_of(**settings), Store.open(f"{folder}/store"), "planted", 0, 3)
    return tune_trials(functools.partial(scripted, f"{folder}/marks", seconds), sweep)


def config_of(**settings):
    return SweepConfig.model_validate({"space": SPACE, **settings})


if __name__ == "__main__":
    connect(ResourcesConfig(local_cpus=4, object_store_gib=0.2))
    trials = run(sys.argv[1], 2.5, **KILLED)
    rows = [dataclasses.asdict(trial) for trial in trials]
    Path(sys.argv[1], "trials.json").write_text(json.dumps(rows))
