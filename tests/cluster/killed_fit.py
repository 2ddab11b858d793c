"""Program: `run_tasks` kills a call that trains with Ray Train, because another call fails.

Writes to ``found.json`` how many CPUs are free during the training and after the kill. The program needs
a process of its own, because its Ray has a dashboard, unlike the Ray of the other tests.
"""

import json
import os
import sys
import time
from pathlib import Path

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from kpod_ray.cluster.connection import connect_with_dashboard
from kpod_ray.cluster.tasks import run_tasks
from kpod_ray.config import ResourcesConfig

SECONDS = 60
"""Timeout for the CPUs of the killed training to be freed."""


def train_forever(settings):
    """Create the mark file, then train without end."""
    Path(settings["mark"]).write_text("training")
    while True:
        time.sleep(0.1)


def train_or_fail(task):
    """Train on two workers, or fail as soon as the other call trains; the error names the free CPUs."""
    kind, folder = task
    mark = f"{folder}/mark"
    if kind == "trains":
        scaling = ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1})
        run_config = RunConfig(storage_path=f"{folder}/fit")
        TorchTrainer(
            train_forever,
            train_loop_config={"mark": mark},
            scaling_config=scaling,
            run_config=run_config,
        ).fit()
    while not os.path.exists(mark):
        time.sleep(0.1)
    raise OSError(f"{ray.available_resources().get('CPU', 0):g} CPUs were free")


def main(folder):
    connect_with_dashboard(ResourcesConfig(local_cpus=4, object_store_gib=0.2))
    try:
        list(run_tasks(train_or_fail, [("trains", folder), ("fails", folder)], 2))
    except OSError as error:
        message = str(error).splitlines()[-1]  # Ray puts a traceback before the message
    deadline = time.time() + SECONDS
    while ray.available_resources()["CPU"] < 4 and time.time() < deadline:
        time.sleep(0.5)
    found = {"while training": message, "afterwards": ray.available_resources()["CPU"]}
    Path(folder, "found.json").write_text(json.dumps(found))
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
